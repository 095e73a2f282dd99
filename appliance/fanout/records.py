"""Metadata records of one stream for one audience, handed to every viewer whose channel is open. Made by fanout.worker.

Runs on the event loop when the ring's doorbell rings; keeps nothing: what a viewer cannot take now, it misses.
"""
import asyncio
from typing import Protocol

from appliance.frame import STATIC
from appliance.runtime.ring import RingReader

_HEADER_OCTETS = 16
_FLAGS_OCTET, _STATIC_BIT = 1, 1


class RecordViewer(Protocol):
    """Who records are for."""

    def send_record(self, message: bytes, has_static: bool) -> None: ...
    def end(self) -> None: ...


class RecordFeed:
    """Reads a records ring and passes each record on. Viewers put themselves into `viewers`."""

    def __init__(self, reader: RingReader) -> None:
        self.viewers: set[RecordViewer] = set()
        self._reader = reader

    def start(self) -> None:
        """Listens to the doorbell; needs a running loop."""
        asyncio.get_running_loop().add_reader(self._reader.fileno(), self._drain)

    def stop(self) -> None:
        """Listens no more."""
        asyncio.get_running_loop().remove_reader(self._reader.fileno())

    def _drain(self) -> None:
        self._reader.clear()
        while (slot := self._reader.lease_next()) is not None:
            with memoryview(slot) as payload:
                message = bytes(payload[:slot.payload_bytes])
            # Either sign is enough: the flag of the slot, or the message's own (design of the data channel, octet 1).
            has_static = bool(slot.flags & STATIC) or len(message) < _HEADER_OCTETS or bool(message[_FLAGS_OCTET] & _STATIC_BIT)
            slot.release()
            for viewer in tuple(self.viewers):
                try:
                    viewer.send_record(message, has_static)
                except Exception as error:  # whatever became of one viewer, the others get their record
                    self._give_up(viewer, error)

    def _give_up(self, viewer: RecordViewer, error: Exception) -> None:
        self.viewers.discard(viewer)
        viewer.end()
        asyncio.get_running_loop().call_exception_handler({"message": "a record could not be sent", "exception": error})
