"""What can go wrong between the box and the hospital's systems, in words for the person who pressed a button. Raised within the stage."""
from appliance.errors import ApplianceError
from appliance.runtime.metrics import HOSPITAL_RESULTS, SNAPSHOT_REFUSALS


class PeerFailed(ApplianceError):
    """A hospital system that gave no usable answer; `result` is the metric's label, the message says which system and what it did."""

    def __init__(self, result: str, message: str) -> None:
        assert result in HOSPITAL_RESULTS, f"runtime/metrics.py does not know the result {result}"
        self.result = result
        super().__init__(message)


class NotStored(ApplianceError):
    """The PACS answered, and will not keep this picture as it is; the message is its reason."""


class SnapshotRefused(ApplianceError):
    """A press that stores nothing; `reason` is the metric's label."""

    def __init__(self, reason: str, message: str) -> None:
        assert reason in SNAPSHOT_REFUSALS, f"runtime/metrics.py does not know the reason {reason}"
        self.reason = reason
        super().__init__(message)
