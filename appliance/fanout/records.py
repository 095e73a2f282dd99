"""Metadata records of one stream for one audience, handed to every viewer whose channel is open. Made by fanout.worker.

Runs on the event loop when the ring's doorbell rings: one call into C a record. Keeps nothing: what a viewer cannot take now, it misses.
"""
import asyncio
from typing import Protocol

from appliance.frame import STATIC, Audience
from appliance.runtime.ring import RingReader
from cext.messages import Recipient, Recipients

_HEADER_OCTETS = 16
_FLAGS_OCTET, _STATIC_BIT = 1, 1
_SECOND_NS = 1_000_000_000


class RecordViewer(Protocol):
    """Who records are for: the owner of a recipient."""

    def attend(self) -> None: ...
    def end(self) -> None: ...


class RecordFeed:
    """Reads a records ring and passes each record on. A class's feed keeps static parts from everybody, whatever a recipient may have."""

    def __init__(self, reader: RingReader, audience: Audience, viewers_max: int) -> None:
        self.recipients = Recipients(audience is Audience.EXPERT, viewers_max)
        self._reader = reader

    def start(self) -> None:
        """Listens to the doorbell; needs a running loop."""
        asyncio.get_running_loop().add_reader(self._reader.fileno(), self._drain)

    def stop(self) -> None:
        """Listens no more."""
        asyncio.get_running_loop().remove_reader(self._reader.fileno())

    def _drain(self) -> None:
        self._reader.clear()
        now_ns = int(asyncio.get_running_loop().time() * _SECOND_NS)
        while (slot := self._reader.lease_next()) is not None:
            with memoryview(slot) as payload:
                message = bytes(payload[:slot.payload_bytes])
            # Either sign is enough: the flag of the slot, or the message's own (design of the data channel, octet 1).
            has_static = bool(slot.flags & STATIC) or len(message) < _HEADER_OCTETS or bool(message[_FLAGS_OCTET] & _STATIC_BIT)
            slot.release()
            for recipient in self.recipients.send(message, has_static, now_ns):
                self._attend(recipient)

    def _attend(self, recipient: Recipient) -> None:
        try:
            recipient.owner.attend()
        except Exception as error:  # whatever became of one viewer, the others get their record
            self.recipients.discard(recipient)
            recipient.owner.end()
            asyncio.get_running_loop().call_exception_handler({"message": "a record could not be sent", "exception": error})
