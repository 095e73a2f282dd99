"""The convert stage with real rings: what it takes, what it passes on, what it counts."""
import os
import signal
import threading
from fractions import Fraction

import numpy as np
import pytest

from appliance import clock, convert
from appliance.frame import DISCONTINUITY, INCOMPLETE, LUMA_WEIGHTS, SECOND_FIELD, FieldFormat, PlanarFormat, VideoFormat
from cext.convert import Converter
from cext.fields import Bob
from cext.scale import Scaler
from tests.workbench import Workbench, publish

HEADER = dict(number=7, rtp_timestamp=0xFFFF_FFF0, first_packet_tai_ns=12, flags=int(INCOMPLETE | DISCONTINUITY), rows_missing=3)


@pytest.fixture
def bench(tmp_path):
    bench = Workbench(tmp_path, "convert.scope")
    yield bench
    bench.close()


@pytest.fixture
def conversion(bench):
    return convert.Conversion(bench.stage)


def raw_frame(bench, seed=1):
    return np.random.default_rng(seed).integers(0, 256, bench.video.frame_bytes, dtype=np.uint8)


def test_a_frame_is_converted_and_keeps_its_header(bench, conversion):
    writer, reader = bench.writer_into("raw.scope"), bench.reader_of("planar.scope", 3)
    bench.viewers("class.vp8", worker=1).set(1)
    captured_ns = clock.tai_ns() - 5_000_000
    raw = raw_frame(bench)
    publish(writer, raw, capture_tai_ns=captured_ns, **HEADER)

    assert conversion.step()

    planar = PlanarFormat(bench.video.width, bench.video.height)
    expected = np.zeros(planar.frame_bytes, np.uint8)
    Converter("YCbCr-4:2:2", 10, planar, luma_weights=LUMA_WEIGHTS["BT709"], path="scalar").convert(raw, expected)
    slot = reader.lease_latest()
    np.testing.assert_array_equal(np.frombuffer(slot, np.uint8)[: planar.frame_bytes], expected)
    assert {name: getattr(slot, name) for name in HEADER} == HEADER
    assert slot.capture_tai_ns == captured_ns < slot.publish_tai_ns <= clock.tai_ns()
    assert slot.payload_bytes == planar.frame_bytes
    assert bench.value("appliance_convert_frames_total") == 1
    assert bench.observed("appliance_convert_work_seconds") == bench.observed("appliance_stage_latency_seconds") == 1


def test_nothing_is_done_while_nobody_watches(bench, conversion):
    writer = bench.writer_into("raw.scope")
    publish(writer, raw_frame(bench), number=1)
    assert not conversion.step()
    assert bench.value("appliance_convert_frames_total") == 0
    assert bench.reader_of("planar.scope").lease_latest() is None


def test_the_newest_frame_is_taken_and_the_others_counted(bench, conversion):
    writer, reader = bench.writer_into("raw.scope"), bench.reader_of("planar.scope")
    bench.viewers("expert").set(2)
    for number in range(1, 3):  # before the first lease nobody waited for them
        publish(writer, raw_frame(bench), number=number)
    assert conversion.step()
    assert bench.value("appliance_convert_frames_skipped_total") == 0
    for number in range(3, 6):
        publish(writer, raw_frame(bench), number=number)
    assert conversion.step()
    assert not conversion.step()
    assert reader.lease_latest().number == 5
    assert bench.value("appliance_convert_frames_skipped_total") == 2


def test_frames_that_pass_while_nobody_watches_are_not_counted_as_skipped(bench, conversion):
    writer = bench.writer_into("raw.scope")
    viewers = bench.viewers("expert")
    viewers.set(1)
    publish(writer, raw_frame(bench), number=1)
    assert conversion.step()
    viewers.set(0)
    for number in range(2, 12):
        publish(writer, raw_frame(bench), number=number)
        conversion.step()
    viewers.set(1)
    assert conversion.step()
    assert bench.value("appliance_convert_frames_skipped_total") == 0


def test_without_a_free_slot_the_frame_is_dropped_and_the_raw_slot_given_back(bench, conversion):
    writer = bench.writer_into("raw.scope")
    bench.viewers("expert").set(1)
    planar_writer = bench.stage.writers["planar.scope"]
    taken = []
    while (slot := planar_writer.claim()) is not None:
        taken.append(slot)
    for number in range(1, 20):  # more often than the raw ring has slots: none may stay leased
        publish(writer, raw_frame(bench), number=number)
        assert not conversion.step()
    assert bench.value("appliance_frames_dropped_total", reason="no_slot") == 19
    for slot in taken:
        slot.abandon()
    publish(writer, raw_frame(bench), number=20)
    assert conversion.step()


def test_run_converts_on_the_doorbell_until_it_is_stopped(bench):
    writer, reader = bench.writer_into("raw.scope"), bench.reader_of("planar.scope")
    bench.viewers("expert").set(1)
    thread = threading.Thread(target=convert.run, args=(bench.stage,))
    thread.start()
    try:
        publish(writer, raw_frame(bench), number=1)
        assert reader.wait(10.0)
        assert reader.lease_latest().number == 1
    finally:
        bench.stage.stop(signal.SIGTERM)
        thread.join(10)
    assert not thread.is_alive()
    assert bench.value("appliance_stage_ready") == 1
    assert bench.value("appliance_stage_pid") == os.getpid()


def test_a_higher_source_is_converted_to_the_height_that_the_encoders_may_have(tmp_path):
    bench = Workbench(tmp_path, "convert.scope", VideoFormat(64, 400), encoder="height_max = 200")
    try:
        conversion = convert.Conversion(bench.stage)
        writer, reader = bench.writer_into("raw.scope"), bench.reader_of("planar.scope")
        bench.viewers("expert").set(1)
        raw = raw_frame(bench)
        publish(writer, raw, number=1)
        assert conversion.step()
        whole, small = PlanarFormat(64, 400), PlanarFormat(32, 200)
        between, expected = np.zeros(whole.frame_bytes, np.uint8), np.zeros(small.frame_bytes, np.uint8)
        Converter("YCbCr-4:2:2", 10, whole, luma_weights=LUMA_WEIGHTS["BT709"]).convert(raw, between)
        Scaler(whole, small).scale(between, expected)
        slot = reader.lease_latest()
        assert slot.payload_bytes == small.frame_bytes
        for offset, rows, stride, width in ((0, 200, 64, 32), (small.u_offset, 100, 32, 16), (small.v_offset, 100, 32, 16)):
            there, here = (np.frombuffer(octets, np.uint8)[offset:][: rows * stride].reshape(rows, stride)[:, :width] for octets in (slot, expected))
            np.testing.assert_array_equal(there, here)
    finally:
        bench.close()


def test_fields_become_pictures_of_full_height_and_a_gap_forgets_what_was_before(tmp_path):
    video = VideoFormat(64, 37, rate=Fraction(25), interlaced=True)
    bench = Workbench(tmp_path, "convert.scope", video)
    try:
        conversion = convert.Conversion(bench.stage)
        writer, reader = bench.writer_into("raw.scope"), bench.reader_of("planar.scope")
        bench.viewers("expert").set(1)
        field, planar = FieldFormat(64, 19), PlanarFormat(64, 37)
        converter, bob = Converter("YCbCr-4:2:2", 10, field, luma_weights=LUMA_WEIGHTS["BT709"]), Bob(field, planar)
        before = None
        for number in (1, 2, 3, 4, 5, 7, 8):  # 6 is lost: what comes after it stands alone
            second = number % 2 == 0
            raw = raw_frame(bench, number)
            publish(writer, raw, number=number, flags=int(SECOND_FIELD) if second else 0)
            assert conversion.step()
            converter.convert(raw, bob.field)
            expected = np.zeros(planar.frame_bytes, np.uint8)
            bob.show(second, before == number - 1, expected)
            slot = reader.lease_latest()
            np.testing.assert_array_equal(np.frombuffer(slot, np.uint8)[: planar.frame_bytes], expected)
            slot.release()
            before = number
    finally:
        bench.close()
