"""The appliance's exceptions: each says what was expected, what came, where, and what to do.

Raised everywhere off the hot path; on the hot path a problem is a counter, not an exception.
"""


class ApplianceError(Exception):
    """Base of every error that the appliance raises on purpose."""


class ConfigurationError(ApplianceError):
    """Something a person wrote (configuration, SDP, command line) cannot be used."""

    def __init__(self, where: str, expected: str, got: str, remedy: str = "") -> None:
        self.where, self.expected, self.got, self.remedy = where, expected, got, remedy
        self.problems = [self.sentence()]
        super().__init__(self.problems[0])

    def sentence(self) -> str:
        """One readable sentence: where, what was expected, what came, what to do."""
        text = f"{self.where}: expected {self.expected}, got {self.got}."
        return f"{text} {self.remedy}".strip()

    @classmethod
    def of(cls, problems: list[str]) -> "ConfigurationError":
        """One error that carries several problems, so that a person mends them all in one go."""
        error = cls.__new__(cls)
        error.where = error.expected = error.got = error.remedy = ""
        error.problems = list(problems)
        Exception.__init__(error, "\n".join(problems))
        return error


class SdpError(ConfigurationError):
    """An SDP file that is malformed or describes a flow that the appliance cannot receive."""


class ProtocolError(ApplianceError):
    """Bytes from the network that break their format; `reason` is the metric's label."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)
