"""Whether a viewer still wants what it is sent (RFC 7675): asked for on the selected path, and over when it has not said so for too long.

Sans-IO, held by hooks.ice. Counts turns of about a second, so that nobody has a timer of its own.
"""
import random
import secrets

from appliance.protocol.stun import Questions

# RFC 7675 section 5.1: asked every 5 s, 0.8 to 1.2 times that by chance, and gone 30 s after the last answer.
TURNS_MIN, TURNS_MAX = 4, 6
CONSENT_S = 30.0
_TRANSACTION_OCTETS = 12


class Consent:
    """One viewer's, on the path that was selected just now: that took a right check, which is a first consent."""

    def __init__(self, questions: Questions, now_s: float) -> None:
        self._questions, self._granted_s = questions, now_s
        self._turns = random.randint(TURNS_MIN, TURNS_MAX)
        self._transaction = b""

    def turn(self) -> bytes | None:
        """Call once a second: the request that is to be sent now, if one is."""
        self._turns -= 1
        if self._turns:
            return None
        self._turns = random.randint(TURNS_MIN, TURNS_MAX)
        self._transaction = secrets.token_bytes(_TRANSACTION_OCTETS)
        return self._questions.request(self._transaction)

    def hear(self, datagram: bytes, now_s: float) -> bool:
        """Whether a datagram is the answer to the last request; then consent begins anew."""
        if not self._transaction or not self._questions.grants(datagram, self._transaction):
            return False
        self._transaction, self._granted_s = b"", now_s
        return True

    def expired(self, now_s: float) -> bool:
        """Whether nothing more may be sent."""
        return now_s - self._granted_s >= CONSENT_S
