"""Metadata records of one stream for one audience, handed to every viewer whose channel is open. Made by fanout.worker.

Runs on the event loop when the ring's doorbell rings: one call into C a record. Keeps nothing: what a viewer cannot take now, it misses.
Without viewers it is no reader of the ring, and sleeps.
"""
import asyncio
from typing import Protocol

from appliance.frame import DEIDENTIFIED, Audience
from appliance.runtime.ring import RingReader
from cext.messages import Recipient, Recipients

_HEADER_OCTETS = 16
_FLAGS_OCTET, _DEIDENTIFIED_BIT = 1, 2
_SECOND_NS = 1_000_000_000


class RecordViewer(Protocol):
    """Who records are for: the owner of a recipient."""

    def attend(self) -> None: ...
    def end(self) -> None: ...


class RecordFeed:
    """Reads a records ring and passes each record on. A class's feed keeps what is not de-identified from everybody, whatever a recipient may have."""

    def __init__(self, reader: RingReader | None, audience: Audience, viewers_max: int) -> None:
        """`reader`: None while the stream has no metadata."""
        self._recipients = Recipients(audience is Audience.EXPERT, viewers_max)
        self._reader, self._awake = reader, False
        if reader is not None:
            reader.detach()

    def read(self, reader: RingReader | None) -> None:
        """Goes on with another ring, or with none. Needs a running loop."""
        if reader is self._reader:
            return
        self._sleep()
        self._reader = reader
        if reader is not None:
            reader.detach()
        if len(self._recipients):
            self._wake()

    def add(self, recipient: Recipient) -> None:
        """Sends it every record from now on. Needs a running loop; ValueError if it is there already, OverflowError if all places are taken."""
        self._recipients.add(recipient)
        if len(self._recipients) == 1:
            self._wake()

    def discard(self, recipient: Recipient) -> None:
        """Sends it nothing more. One that is not there is fine."""
        if not len(self._recipients):
            return
        self._recipients.discard(recipient)
        if not len(self._recipients):
            self._sleep()

    def _wake(self) -> None:
        if self._reader is not None:
            self._awake = True
            self._reader.attach()
            asyncio.get_running_loop().add_reader(self._reader.fileno(), self._drain)

    def _sleep(self) -> None:
        if self._awake:
            self._awake = False
            asyncio.get_running_loop().remove_reader(self._reader.fileno())
            self._reader.detach()

    def _drain(self) -> None:
        self._reader.clear()
        now_ns = int(asyncio.get_running_loop().time() * _SECOND_NS)
        while len(self._recipients) and (slot := self._reader.lease_next()) is not None:
            with memoryview(slot) as payload:
                message = bytes(payload[:slot.payload_bytes])
            # Both signs are needed: the flag of the slot, and the message's own (design of the data channel, octet 1).
            identifying = not (slot.flags & DEIDENTIFIED and len(message) >= _HEADER_OCTETS and message[_FLAGS_OCTET] & _DEIDENTIFIED_BIT)
            slot.release()
            for recipient in self._recipients.send(message, identifying, now_ns):
                self._attend(recipient)

    def _attend(self, recipient: Recipient) -> None:
        try:
            recipient.owner.attend()
        except Exception as error:  # whatever became of one viewer, the others get their record
            self.discard(recipient)
            recipient.owner.end()
            asyncio.get_running_loop().call_exception_handler({"message": "a record could not be sent", "exception": error})
