"""One theatre of the hospital stage with real rings, and the writers' ends of them in the test's hands."""
from fractions import Fraction

import numpy as np

from appliance import clock
from appliance.frame import STATIC, VideoFormat
from appliance.hospital.theatre import Theatre
from appliance.protocol import dicom_rtv
from appliance.protocol.dicom_rtv import build_grain, frame_item
from appliance.runtime.ring import LATEST, Ring, RingReader, RingWriter
from appliance.source.case import new_uid, static_part
from tests.workbench import publish

VIDEO = VideoFormat(64, 36, rate=Fraction(50))


class Bench:
    """Shows frames and says grains to one Theatre."""

    def __init__(self):
        self._rings = [Ring.create(name, slots, slot_bytes, LATEST, b"test") for name, slots, slot_bytes in
                       (("raw", 32, VIDEO.frame_bytes), ("records", 64, 65_536))]
        self.raw, self.records = (RingWriter(ring.fd, [], b"test") for ring in self._rings)
        self.theatre = Theatre(VIDEO, *(RingReader(ring.fd, 0, -1, b"test") for ring in self._rings))

    def close(self):
        for ring in self._rings:
            ring.close()

    def show(self, number, **header):
        """A frame whose octets are its number."""
        publish(self.raw, np.full(VIDEO.frame_bytes, number % 256, np.uint8), number=number, capture_tai_ns=clock.tai_ns(), payload_bytes=VIDEO.frame_bytes, **header)

    def say(self, patient_id, rtp_timestamp, static=False, uid=None, flags=0, number=1, publish_tai_ns=None, **elements):
        """A grain; returns its SOP instance UID."""
        uid = uid or new_uid()
        part = None
        if static:
            part = static_part(uid, bytes(16), bytes(16), VIDEO)
            part.PatientID = patient_id
            for keyword, value in elements.items():
                setattr(part, keyword, value)
        grain = build_grain(part, frame_item(clock.tai_ns(), 1), instance_uid=uid, source_id=bytes(16), flow_id=bytes(16), frame_duration_ms=20.0)
        record = np.frombuffer(dicom_rtv.message(grain, rtp_timestamp, clock.tai_ns(), static), np.uint8)
        publish(self.records, record, number=number, rtp_timestamp=rtp_timestamp, payload_bytes=len(record), flags=flags | (STATIC if static else 0),
                publish_tai_ns=publish_tai_ns or clock.tai_ns())
        return uid
