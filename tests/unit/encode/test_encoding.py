"""A rendition's encoding with real rings and real encoders: whom it serves, when it makes keyframes, what it counts."""
from dataclasses import replace

import numpy as np
import pytest

from appliance import clock, topology
from appliance.encode import encoding
from appliance.encode.choice import ENCODERS, Encoders
from appliance.encode.encoder import Encoder, EncoderFault
from appliance.frame import INCOMPLETE, KEYFRAME, PlanarFormat, Rendition, VideoFormat
from tests.unit.encode import h264_syntax as h264
from tests.unit.encode.pictures import tissue
from tests.workbench import Workbench, publish

PLANAR = PlanarFormat(64, 36)


def make_bench(folder, rendition="expert", encoder='h264 = "libx264"', workers=2):
    return Workbench(folder, f"encode.scope.{rendition}", VideoFormat(64, 36), workers, encoder)


def encoding_of(bench, name="expert"):
    """The encoding of one of the stage's renditions, at its own place among the readers."""
    rendition = Rendition.named(name)
    reader = bench.stage.places["planar.scope"][rendition.levels.index(rendition)]
    return encoding.Encoding(bench.stage, rendition, reader, Encoders(bench.config.encoder.h264))


class Line:
    """An encoding between a ring of planar frames and the rings of the fan-out workers."""

    def __init__(self, bench, rendition="expert", workers=2):
        self.bench = bench
        self.encoding = encoding_of(bench, rendition)
        self.writer = bench.writer_into("planar.scope")
        self.readers = [bench.reader_of(f"units.scope.{rendition}.{worker}") for worker in range(workers)]
        self.viewers, self.requests = bench.viewers(rendition, worker=workers - 1), bench.keyframe_requests(rendition)
        self.frames = tissue(PLANAR, 8)
        self.count = 0

    def feed(self, **header):
        self.count += 1
        header = {"number": self.count, "rtp_timestamp": 1800 * self.count} | header
        publish(self.writer, self.frames[self.count % len(self.frames)], **header)
        return self.encoding.step()

    def unit(self, worker=0):
        """(number, is keyframe, octets) of the next access unit for a worker, or None."""
        slot = self.readers[worker].lease_next()
        if slot is None:
            return None
        with memoryview(slot) as octets:
            found = slot.number, bool(slot.flags & KEYFRAME), bytes(octets[: slot.payload_bytes])
        slot.release()
        return found

    def drain(self):
        for worker in range(len(self.readers)):
            while self.unit(worker):
                continue


@pytest.fixture
def bench(tmp_path):
    bench = make_bench(tmp_path)
    yield bench
    bench.close()


@pytest.fixture
def line(bench):
    return Line(bench)


def test_every_worker_gets_the_same_access_unit_with_the_frame_s_own_times(bench, line):
    line.viewers.set(1)
    captured_ns = clock.tai_ns() - 3_000_000
    assert line.feed(rtp_timestamp=0xFFFF_FFFE, capture_tai_ns=captured_ns, first_packet_tai_ns=17, flags=int(INCOMPLETE), rows_missing=4)
    payloads = []
    for reader in line.readers:
        slot = reader.lease_next()
        assert (slot.number, slot.rtp_timestamp, slot.first_packet_tai_ns, slot.rows_missing) == (1, 0xFFFF_FFFE, 17, 4)
        assert slot.flags == INCOMPLETE | KEYFRAME
        assert slot.capture_tai_ns == captured_ns < slot.publish_tai_ns <= clock.tai_ns()
        with memoryview(slot) as octets:
            payloads.append(bytes(octets[: slot.payload_bytes]))
    assert payloads[0] == payloads[1]
    assert {h264.SPS, h264.PPS, h264.IDR} <= set(h264.nal_types(payloads[0]))
    assert bench.value("appliance_encode_frames_total", rendition="expert") == bench.value("appliance_encode_keyframes_total", rendition="expert") == 1
    assert bench.value("appliance_encode_bytes_total", rendition="expert") == len(payloads[0])
    assert bench.observed("appliance_encode_work_seconds", rendition="expert") == bench.observed("appliance_stage_latency_seconds", rendition="expert") == 1


def test_while_nobody_watches_nothing_is_encoded_and_no_slot_is_taken(bench, line):
    for _ in range(3 * 7):  # more often than the ring has slots
        assert not line.feed()
    assert line.unit() is None
    assert bench.value("appliance_encode_frames_total", rendition="expert") == 0


@pytest.mark.parametrize("other", ["expert.half", "class.half", "class.small", "expert.vp8", "class.vp8"])
def test_viewers_of_another_coding_are_no_reason_to_encode(bench, line, other):
    bench.viewers(other).set(3)
    assert not line.feed()


def test_a_student_alone_is_reason_enough_and_beside_an_expert_costs_nothing_more(bench, line):
    bench.viewers("class").set(1)
    assert line.feed() and line.unit()[:2] == (1, True)
    line.viewers.set(1)
    assert line.feed() and line.unit()[:2] == (2, False)
    bench.keyframe_requests("class").add()
    line.requests.add()
    line.feed()
    line.feed()
    assert [line.unit()[:2] for _ in range(2)] == [(3, True), (4, False)], "both asked, one keyframe answers"
    assert bench.value("appliance_encode_frames_total", rendition="expert") == 4
    assert bench.value("appliance_encode_keyframes_total", rendition="expert") == 2


def test_the_worker_reads_each_unit_once_for_every_audience(bench, line):
    line.viewers.set(1)
    readers = [bench.reader_of("units.scope.expert.0", place) for place, _ in enumerate(line.encoding.rendition.serves)]
    line.feed()
    found = []
    for reader in readers:
        slot = reader.lease_next()
        with memoryview(slot) as octets:
            found.append((slot.number, bytes(octets[: slot.payload_bytes])))
        slot.release()
    assert len(found) == 2 and found[0] == found[1]


def test_numbers_count_the_units_made_and_only_the_first_is_a_keyframe(line):
    line.viewers.set(1)
    for _ in range(4):
        line.feed()
    assert [line.unit()[:2] for _ in range(4)] == [(1, True), (2, False), (3, False), (4, False)]


def test_a_request_makes_the_next_frame_an_idr(line):
    line.viewers.set(1)
    for _ in range(3):
        line.feed()
    line.requests.add()
    line.feed()
    line.feed()
    units = [line.unit() for _ in range(5)]
    assert [keyframe for _, keyframe, _ in units] == [True, False, False, True, False]
    assert [h264.IDR in h264.nal_types(octets) for _, _, octets in units] == [True, False, False, True, False]


def test_requests_of_all_workers_in_one_moment_make_one_keyframe(bench, line):
    line.viewers.set(1)
    line.feed()
    line.drain()
    for worker in (0, 1):
        bench.keyframe_requests("expert", worker).add(50)
    for _ in range(3):
        line.feed()
    assert [line.unit()[1] for _ in range(3)] == [True, False, False]


def test_the_first_frame_after_a_pause_without_viewers_is_a_keyframe(bench, line):
    line.viewers.set(1)
    line.feed()
    line.feed()
    line.viewers.set(0)
    for _ in range(10):
        line.feed()
    line.viewers.set(1)
    line.feed()
    assert [line.unit()[:2] for _ in range(3)] == [(1, True), (2, False), (3, True)]
    # What passed in the pause was wanted by nobody.
    assert bench.value("appliance_encode_frames_skipped_total", rendition="expert") == 0


def test_a_slow_encoder_takes_the_newest_frame_and_counts_the_others(bench, line):
    line.viewers.set(1)
    line.feed()
    for number in (2, 3, 4):
        publish(line.writer, line.frames[number], number=number, rtp_timestamp=number)
    assert line.encoding.step()
    assert not line.encoding.step()
    line.readers[0].lease_next().release()
    second = line.readers[0].lease_next()
    assert (second.rtp_timestamp, second.number) == (4, 2)
    assert bench.value("appliance_encode_frames_skipped_total", rendition="expert") == 2


def test_a_worker_that_does_not_read_loses_units_and_the_other_none(bench, line):
    line.viewers.set(1)
    numbers = []
    for _ in range(20):
        line.feed()
        numbers.append(line.unit(worker=1)[0])
    assert numbers == list(range(1, 21))
    assert bench.value("appliance_frames_dropped_total", rendition="expert", reason="no_slot") == 12
    assert [line.unit(worker=0)[0] for _ in range(8)] == list(range(1, 9))
    line.feed()
    assert line.unit(worker=0)[0] == 21  # the gap tells the worker what it lost


def test_a_unit_too_large_for_a_slot_is_dropped_and_the_next_is_a_keyframe(tmp_path, monkeypatch):
    monkeypatch.setattr(topology, "UNIT_BYTES_MAX", 512 * 1024)
    # Noise that no codec can compress, at a rate that lets it take more than a slot of 512 KiB.
    bench = Workbench(tmp_path, "encode.scope.expert", VideoFormat(1280, 720), 1, 'h264 = "libx264"\nbitrate_kbps = 100000\npreset = "ultrafast"')
    try:
        planar = PlanarFormat(1280, 720)
        line = Line(bench, workers=1)
        line.viewers.set(1)
        quiet = np.full(planar.frame_bytes, 128, np.uint8)
        line.frames = [np.random.default_rng(5).integers(0, 256, planar.frame_bytes, dtype=np.uint8), quiet]
        line.feed()
        assert line.unit()[1]
        line.feed()
        line.feed()
        assert bench.value("appliance_frames_dropped_total", rendition="expert", reason="too_large") == 1
        assert line.unit()[:2] == (3, True)
    finally:
        bench.close()


def test_an_encoder_that_failed_is_opened_anew_and_starts_with_a_keyframe(bench, line):
    line.viewers.set(1)
    line.feed()
    line.feed()
    broken = line.encoding._encoder
    broken._context.encode(None)  # a flushed codec takes no further frame: FFmpeg answers with an error
    line.feed()
    assert bench.value("appliance_frames_dropped_total", rendition="expert", reason="encoder_error") == 1
    line.feed()
    line.feed()
    assert line.encoding._encoder is not broken
    assert [line.unit()[:2] for _ in range(4)] == [(1, True), (2, False), (3, True), (4, False)]


def test_an_encoder_that_fails_again_and_again_ends_the_stage(bench, line):
    line.viewers.set(1)
    with pytest.raises(EncoderFault):
        for _ in range(encoding.FAULTS_MAX + 1):
            line.encoding._encoder._context.encode(None)
            line.feed()
    assert bench.value("appliance_frames_dropped_total", rendition="expert", reason="encoder_error") == encoding.FAULTS_MAX + 1


@pytest.mark.parametrize("rendition, encoder", [("expert", "libx264"), ("expert.vp8", "libvpx")])
def test_each_rendition_names_its_encoder(tmp_path, rendition, encoder):
    bench = make_bench(tmp_path, rendition)
    try:
        line = Line(bench, rendition)
        line.viewers.set(1)
        line.feed()
        _, keyframe, octets = line.unit()
        assert keyframe and (octets[0] & 1 == 0 if encoder == "libvpx" else h264.SPS in h264.nal_types(octets))
        named = [name for name in ENCODERS if bench.value("appliance_encode_encoder_info", rendition=rendition, encoder=name)]
        assert named == [encoder]
    finally:
        bench.close()


def test_the_choice_is_one_line_in_the_log(tmp_path, caplog):
    bench = make_bench(tmp_path, encoder='h264 = "auto"')
    try:
        with caplog.at_level("INFO", logger="encode.scope.expert"):
            encoding_of(bench)
        (record,) = caplog.records
        assert "64x36 at 50 frames/s, 6000 kbit/s by " in record.getMessage()
        assert sum(bench.value("appliance_encode_encoder_info", rendition="expert", encoder=name) for name in ENCODERS) == 1
    finally:
        bench.close()


def test_a_named_encoder_that_does_not_work_here_is_a_warning_and_software_takes_over(tmp_path, caplog):
    bench = make_bench(tmp_path, encoder='h264 = "h264_v4l2m2m"')
    try:
        encoding_of(bench)
        if bench.value("appliance_encode_encoder_info", rendition="expert", encoder="h264_v4l2m2m"):
            return  # this machine has such hardware
        (record,) = caplog.records
        assert record.levelname == "WARNING" and "refused: h264_v4l2m2m: " in record.getMessage()
        assert bench.value("appliance_encode_encoder_info", rendition="expert", encoder="libx264") == 1
    finally:
        bench.close()


def test_settings_follow_the_configuration_and_the_sdp(tmp_path):
    bench = Workbench(tmp_path, "encode.scope.expert", VideoFormat(64, 36, colorimetry="BT2020", range="FULL"), 1,
                      'bitrate_kbps = 3000\npreset = "veryfast"\nh264_profile = "high"\nthreads = 2')
    try:
        settings = encoding.settings_of(bench.stage, Rendition.named("expert"))
        assert (settings.bitrate_bps, settings.preset, settings.profile, settings.threads) == (3_000_000, "veryfast", "high", 2)
        assert settings.planar == PLANAR and settings.rate == 50
        assert settings.colour.values() == (9, 14, 6, 1)
        Encoder("libx264", replace(settings, threads=1))
    finally:
        bench.close()
