"""The metadata stage: what each audience's rings get, what is counted, and that nothing invalid or identifying passes."""
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance import clock
from appliance.frame import COMPANION, DEIDENTIFIED, DISCONTINUITY, STATIC, Audience
from appliance.metadata.relay import COMPANION_INTERVAL_NS, STALE_NS, MetadataRelay
from appliance.protocol import attribution, dicom_elements, dicom_rtv, grain, rtp, sdp
from appliance.runtime import metrics
from appliance.runtime.belief import TRUSTED_NS_MAX
from appliance.runtime.counters import Counters, Segment, series_of
from appliance.runtime.ring import EVERY, Ring, RingReader, RingWriter
from tests.unit.protocol.test_attribution import audio_grain, audio_static, rendition_grain
from tests.unit.protocol.test_dicom_rtv import DYNAMIC, FULL, INSTANCE, SOURCE_ID, dynamic_part, static_part

FLOW = sdp.MetadataFlow(group="239.1.1.1", port=5006, payload_type=104, extension_ids={sdp.GRAIN_FLAGS_URI: 5})
NOW_NS = 1_790_000_000_123_456_789
CLASS_CLOCK = clock.AudienceClock.secret(b"of a test", "t")
WORKERS = 2
SLOTS = 4


class Harness:
    """A relay with real rings, read by two workers an audience, and real counters."""

    def __init__(self, flow: sdp.MetadataFlow = FLOW, segment: Segment | None = None, of_picture: bool = True) -> None:
        self.rings = {(audience, n): Ring.create(f"records.t.{audience.value}.{n}", SLOTS, 65_536, EVERY, b"record") for audience in Audience for n in range(WORKERS)}
        self.readers = {key: RingReader(ring.fd, 0, -1, b"record") for key, ring in self.rings.items()}
        writers = {audience: [RingWriter(self.rings[audience, n].fd, [], b"record") for n in range(WORKERS)] for audience in Audience}
        self.segment = segment or Segment.create(series_of("metadata.t", metrics.METADATA, {"stage": "metadata.t", "stream": "t"}))
        self.counters = Counters(self.segment, "metadata.t")
        self.relay = MetadataRelay(flow, writers, self.counters, CLASS_CLOCK, of_picture)
        self.sequence = 0

    def send(self, payload: bytes, timestamp: int = 1000, pieces: int = 1, ssrc: int = 1, at_ns: int = NOW_NS) -> None:
        """A grain as the source sends it, in packets."""
        size = -(-len(payload) // pieces)
        for n in range(pieces):
            flags = (grain.START if n == 0 else 0) | (grain.END if n == pieces - 1 else 0)
            header = rtp.RtpHeader(104, self.sequence & 0xFFFF, timestamp, ssrc, n == pieces - 1)
            self.relay.receive(rtp.build(header, payload[n * size:(n + 1) * size], {5: bytes([flags])}), at_ns)
            self.sequence += 1

    def records(self, audience: Audience, worker: int = 0) -> list[SimpleNamespace]:
        """What a fan-out worker finds in its ring."""
        found = []
        while (slot := self.readers[audience, worker].lease_next()) is not None:
            with memoryview(slot) as octets:
                message = bytes(octets[:slot.payload_bytes])
            found.append(SimpleNamespace(message=message, payload=message[16:], number=slot.number, flags=slot.flags, rtp_timestamp=slot.rtp_timestamp,
                                         capture_tai_ns=slot.capture_tai_ns, first_packet_tai_ns=slot.first_packet_tai_ns))
            slot.release()
        return found

    def count(self, name: str, **labels: str) -> int:
        self.relay.tick(0)
        return self.segment.find("metadata.t", name, **labels).value


@pytest.fixture
def stage() -> Harness:
    return Harness()


def test_experts_get_the_whole_grain_and_a_class_gets_it_deidentified(stage):
    stage.send(FULL, pieces=3)
    for worker in range(WORKERS):
        (expert,), (student,) = stage.records(Audience.EXPERT, worker), stage.records(Audience.CLASS, worker)
        assert expert.payload == FULL and expert.flags & STATIC and expert.message[1] == 1
        assert student.flags & (STATIC | DEIDENTIFIED) == STATIC | DEIDENTIFIED and student.message[1] == 3
        assert dicom_rtv.parse_grain(student.payload).static.PatientIdentityRemoved == "YES" and b"Lovelace" not in student.message


def test_a_class_is_told_the_same_frame_on_a_clock_of_its_own(stage):
    stage.send(DYNAMIC, timestamp=0xFFFF_FFFF)
    (expert,), (student,) = stage.records(Audience.EXPERT), stage.records(Audience.CLASS)
    assert expert.message[:16] == dicom_rtv.message(b"", 0xFFFF_FFFF, expert.capture_tai_ns, False)
    assert student.message[:16] == dicom_rtv.message(b"", CLASS_CLOCK.ticks() - 1 & 0xFFFF_FFFF, CLASS_CLOCK.at(expert.capture_tai_ns), False, True)
    assert (student.rtp_timestamp, student.capture_tai_ns) == (expert.rtp_timestamp, expert.capture_tai_ns), "inside the appliance there is one clock"


def test_a_record_carries_the_frames_timestamp_and_its_capture_time(stage):
    stage.send(DYNAMIC, timestamp=clock.rtp_timestamp(NOW_NS - 5_000_000))
    (record,) = stage.records(Audience.EXPERT)
    timestamp = clock.rtp_timestamp(NOW_NS - 5_000_000)
    assert record.rtp_timestamp == timestamp and clock.rtp_timestamp(record.capture_tai_ns) == timestamp
    assert 0 <= NOW_NS - 5_000_000 - record.capture_tai_ns < 11_112  # one tick of 90 kHz
    assert record.first_packet_tai_ns == NOW_NS
    assert record.message[:16] == dicom_rtv.message(b"", timestamp, record.capture_tai_ns, False)


def test_an_older_senders_media_clock_offset_is_taken_off_the_capture_time_only():
    stage = Harness(sdp.MetadataFlow(group="239.1.1.1", port=5006, payload_type=104, mediaclk_offset=5000))
    stage.send(DYNAMIC, timestamp=(clock.rtp_timestamp(NOW_NS) + 5000) & 0xFFFF_FFFF)
    (record,) = stage.records(Audience.EXPERT)
    assert clock.rtp_timestamp(record.capture_tai_ns) == clock.rtp_timestamp(NOW_NS) == (record.rtp_timestamp - 5000) & 0xFFFF_FFFF


@pytest.mark.parametrize("distance_ns", [TRUSTED_NS_MAX + 20_000, 3_600_000_000_000])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_sender_without_ptp_is_timed_by_arrival_and_keeps_its_timestamp(stage, sign, distance_ns):
    timestamp = clock.rtp_timestamp(NOW_NS + sign * distance_ns)
    stage.send(FULL, timestamp)
    for audience in Audience:
        (record,) = stage.records(audience)
        assert (record.capture_tai_ns, record.rtp_timestamp) == (NOW_NS, timestamp)
        shown = CLASS_CLOCK if audience is Audience.CLASS else clock.AudienceClock()
        told = timestamp + shown.ticks() & 0xFFFF_FFFF, shown.at(NOW_NS)
        assert record.message[:16] == dicom_rtv.message(b"", *told, True, audience is Audience.CLASS)


@pytest.mark.parametrize("sign", [-1, 1])
def test_an_rtp_time_just_near_enough_is_the_capture_time(stage, sign):
    timestamp = clock.rtp_timestamp(NOW_NS + sign * (TRUSTED_NS_MAX - 20_000))
    stage.send(DYNAMIC, timestamp)
    (record,) = stage.records(Audience.EXPERT)
    assert clock.rtp_timestamp(record.capture_tai_ns) == timestamp


def test_records_are_numbered(stage):
    for _ in range(3):
        stage.send(DYNAMIC)
    assert [record.number for record in stage.records(Audience.EXPERT)] == [1, 2, 3]


def other_instance(static: bool) -> bytes:
    part = static_part()
    part.SOPInstanceUID = "1.2.3.99"
    return dicom_rtv.build_grain(part if static else None, dynamic_part(), instance_uid="1.2.3.99", source_id=bytes(16), flow_id=bytes(16))


@pytest.mark.parametrize("static", [True, False])
def test_another_instance_voids_what_was_known(stage, static):
    for payload in (FULL, DYNAMIC, other_instance(static), other_instance(static)):
        stage.send(payload)
    for audience in Audience:
        assert [bool(record.flags & DISCONTINUITY) for record in stage.records(audience)] == [True, False, True, False]
    assert stage.count("appliance_metadata_instances_total") == 2


def test_another_sender_voids_what_was_known_even_with_the_same_instance(stage):
    stage.send(FULL)
    for _ in range(grain.SESSION_PROOF_PACKETS):
        stage.send(DYNAMIC, ssrc=2)
    assert [bool(record.flags & DISCONTINUITY) for record in stage.records(Audience.EXPERT)] == [True, True]
    assert stage.count("appliance_metadata_sessions_total") == 2


def test_an_invalid_grain_reaches_nobody_and_is_counted_by_reason(stage):
    stage.send(FULL[:-1])
    stage.send(b"\0" * 128 + b"DICM")
    assert not stage.records(Audience.EXPERT) and not stage.records(Audience.CLASS)
    assert stage.count("appliance_metadata_grains_malformed_total", reason="truncated") == 1
    assert stage.count("appliance_metadata_grains_malformed_total", reason="group_length") == 1
    assert stage.count("appliance_metadata_grains_total") == 0


def test_a_static_part_alone_goes_to_both(stage):
    stage.send(dicom_rtv.build_grain(static_part(), None, instance_uid=static_part().SOPInstanceUID, source_id=bytes(16), flow_id=bytes(16)))
    assert len(stage.records(Audience.EXPERT)) == len(stage.records(Audience.CLASS)) == 1


def test_what_passes_is_counted(stage):
    stage.send(FULL, pieces=2)
    stage.send(DYNAMIC)
    assert stage.count("appliance_metadata_grains_total") == 2
    assert stage.count("appliance_metadata_bytes_total") == len(FULL) + len(DYNAMIC)
    assert stage.count("appliance_metadata_static_total") == 1
    assert stage.count("appliance_metadata_packets_total") == 3


def test_losses_are_counted(stage):
    stage.send(DYNAMIC)
    stage.sequence += 4
    stage.send(DYNAMIC)
    stage.sequence -= 1
    stage.send(DYNAMIC)
    assert stage.count("appliance_metadata_packets_lost_total") == 4
    assert stage.count("appliance_metadata_packets_late_total") == 1


def test_a_full_ring_drops_its_record_and_the_others_go_on(stage):
    for _ in range(SLOTS):
        stage.send(DYNAMIC)
        stage.records(Audience.CLASS, 0), stage.records(Audience.CLASS, 1), stage.records(Audience.EXPERT, 1)
    before = stage.count("appliance_frames_dropped_total", reason="no_slot")
    stage.send(FULL)
    assert stage.count("appliance_frames_dropped_total", reason="no_slot") == before + 1
    assert [record.message[1] for record in stage.records(Audience.CLASS, 0)] == [3]
    assert [record.payload for record in stage.records(Audience.EXPERT, 1)] == [FULL]


def test_counters_go_on_after_a_restart(stage):
    stage.relay.receive(b"junk", NOW_NS)
    assert stage.count("appliance_metadata_packets_malformed_total", reason="truncated") == 1
    again = Harness(segment=stage.segment)
    again.relay.receive(b"junk", NOW_NS)
    assert again.count("appliance_metadata_packets_malformed_total", reason="truncated") == 2


def test_silence_is_told_after_three_seconds_and_ends_with_a_valid_grain(stage):
    stale = stage.segment.find("metadata.t", "appliance_metadata_stale")
    states = []
    for now_ns, payload in ((0, None), (STALE_NS, None), (STALE_NS + 1, None), (STALE_NS + 2, FULL[:-1]), (STALE_NS + 3, DYNAMIC), (2 * STALE_NS + 4, None)):
        if payload is not None:
            stage.send(payload)
        stage.relay.tick(now_ns)
        states.append(stale.value)
    assert states == [0, 0, 1, 1, 0, 1]


HARNESS = Harness()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(FULL) - 1), st.integers(0, 255)), min_size=1, max_size=6), st.integers(1, 4))
def test_whatever_arrives_a_class_gets_only_what_is_deidentified(changes, pieces):
    octets = bytearray(FULL)
    for at, value in changes:
        octets[at] = value
    HARNESS.send(bytes(octets), pieces=pieces)
    experts, students = HARNESS.records(Audience.EXPERT), HARNESS.records(Audience.CLASS)
    HARNESS.records(Audience.EXPERT, 1), HARNESS.records(Audience.CLASS, 1)
    for record in students:
        assert dicom_rtv.check_grain(record.payload) and record.message[1] & 2 and record.flags & DEIDENTIFIED
        assert not any(secret in record.message for secret in (b"Lovelace", b"HOSP-4711", b"18151210", b"St. Thomas", SOURCE_ID, INSTANCE.encode()))
    assert len(students) <= len(experts)


def test_a_grain_that_cannot_be_deidentified_is_kept_from_the_class_and_counted_by_reason(stage):
    stage.send(dicom_rtv.build_grain(None, dynamic_part(), instance_uid=INSTANCE, source_id=bytes(16), flow_id=bytes(16), transfer_syntax_uid="1.2.840.10008.1.2.1"))
    assert len(stage.records(Audience.EXPERT)) == 1 and not stage.records(Audience.CLASS)
    assert stage.count("appliance_metadata_grains_withheld_total", reason="transfer_syntax") == 1


def test_another_patient_gets_other_pseudonyms(stage):
    def told():
        stage.send(FULL)
        stage.records(Audience.EXPERT)
        return dicom_rtv.check_grain(stage.records(Audience.CLASS)[-1].payload).instance_uid

    before = told()
    assert told() == before
    stage.send(other_instance(True))
    assert told() != before, "the first one again is a session of its own"


# ---- whose a grain is ---------------------------------------------------------------------------------------------------------------


def of_patient(patient_id: str) -> bytes:
    part = static_part()
    part.PatientID = patient_id
    return dicom_rtv.build_grain(part, dynamic_part(), instance_uid=INSTANCE, source_id=bytes(16), flow_id=bytes(16))


def test_another_patient_in_the_same_instance_voids_what_was_known(stage):
    for payload in (of_patient("A"), of_patient("A"), DYNAMIC, of_patient("B"), of_patient("B")):
        stage.send(payload)
    assert [bool(record.flags & DISCONTINUITY) for record in stage.records(Audience.EXPERT)] == [True, False, False, True]
    assert stage.count("appliance_metadata_subjects_total") == 2 and stage.count("appliance_metadata_instances_total") == 1


def test_a_grain_of_another_flow_than_its_packets_goes_to_nobody():
    stage = Harness(sdp.MetadataFlow(group="239.1.1.1", port=5006, payload_type=104,
                                     extension_ids={sdp.GRAIN_FLAGS_URI: 5, attribution.FLOW_URI: 3}))
    stage.relay.receive(rtp.build(rtp.RtpHeader(104, 0, 1000, 1, True), FULL, {5: bytes([grain.START | grain.END]), 3: bytes(range(16))}), NOW_NS)
    assert not stage.records(Audience.EXPERT) and not stage.records(Audience.CLASS)
    assert stage.count("appliance_metadata_grains_malformed_total", reason="flow_mismatch") == 1


@pytest.mark.parametrize(("kind", "flow", "make"), [("audio", replace(FLOW, rate_hz=48_000), audio_grain), ("rendition", FLOW, rendition_grain)])
def test_what_describes_no_frame_goes_to_experts_as_a_companion_and_to_no_class(kind, flow, make):
    stage = Harness(flow, of_picture=False)
    for _ in range(3):
        stage.send(make())
    assert stage.count("appliance_metadata_grains_understood_total", kind=kind) == 3
    [record] = stage.records(Audience.EXPERT)
    assert record.flags == STATIC | COMPANION and record.message[1] == dicom_rtv.MESSAGE_STATIC | dicom_rtv.MESSAGE_COMPANION and record.payload == make()
    assert not stage.records(Audience.CLASS)
    assert not stage.count("appliance_metadata_grains_withheld_total", reason="sop_class"), "a class is offered none, so none had to be withheld"


def test_a_companion_comes_again_after_a_while_and_at_once_when_it_is_anothers():
    stage = Harness(replace(FLOW, rate_hz=48_000), of_picture=False)
    for patient, at_ns in (("A", 0), ("A", COMPANION_INTERVAL_NS - 1), ("A", COMPANION_INTERVAL_NS), ("B", COMPANION_INTERVAL_NS + 1), ("B", COMPANION_INTERVAL_NS + 2)):
        part = audio_static()
        part.PatientID = patient
        stage.send(audio_grain(static=part), at_ns=NOW_NS + at_ns)
    assert [b"B " in record.payload for record in stage.records(Audience.EXPERT)] == [False, False, True]


def test_a_second_pictures_grains_are_companions_not_frames():
    stage = Harness(of_picture=False)
    stage.send(DYNAMIC)
    stage.send(FULL)
    assert [record.flags for record in stage.records(Audience.EXPERT)] == [STATIC | COMPANION] and not stage.records(Audience.CLASS)


def test_what_the_sender_leaves_out_is_said_once_and_shown(stage, caplog):
    stage.send(FULL)
    stage.send(FULL)
    [line] = [record.message for record in caplog.records if "leaves out" in record.message]
    assert stage.count("appliance_metadata_type1_missing") == line.count(",") + 1 and "SoftwareVersions" in line
