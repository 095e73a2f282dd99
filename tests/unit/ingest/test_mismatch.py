"""A flow that is not what its SDP says: found out within a second, hidden, and named, for every kind of lie."""
import logging
import random
from dataclasses import replace
from fractions import Fraction

import pytest

from appliance.frame import MISMATCH, VideoFormat
from appliance.ingest.mismatch import MismatchWatch
from appliance.runtime.metrics import ARRIVING_FIGURES
from tests.camera import SMALL, Assembled, Camera, strays
from tests.workbench import Workbench

PROMISED = VideoFormat(320, 180, rate=Fraction(50))
PROMISED_FIELDS = VideoFormat(320, 180, rate=Fraction(25), interlaced=True)
VISIT_NS = 20_000_000
LIES = {
    "8 bit": (PROMISED, VideoFormat(320, 180, depth=8), (40,), "320x180p50 YCbCr-4:2:2 8 bit"),
    "8 bit whose packets have whole pgroups": (PROMISED, VideoFormat(320, 180, depth=8), (80,), "320x180p50 YCbCr-4:2:2 8 bit"),
    "12 bit": (PROMISED, VideoFormat(320, 180, depth=12), (53,), "320x180p50 YCbCr-4:2:2 12 bit or YCbCr-4:4:4 8 bit or RGB 8 bit or YCbCr-4:2:0 16 bit"),
    "10 for 8 bit": (replace(PROMISED, depth=8), PROMISED, (53,), "320x180p50 YCbCr-4:2:2 10 bit"),
    "4:4:4": (PROMISED, replace(PROMISED, sampling="YCbCr-4:4:4"), (20,), "320x180p50 YCbCr-4:4:4 10 bit or RGB 10 bit"),
    "4:2:0": (replace(PROMISED, sampling="YCbCr-4:4:4"), replace(PROMISED, sampling="YCbCr-4:2:0"), (20,), "320x180p50 YCbCr-4:2:0 10 bit"),
    "smaller": (PROMISED, VideoFormat(160, 90), (40,), "160x90p50 YCbCr-4:2:2 10 bit"),
    "much smaller": (VideoFormat(640, 360), VideoFormat(64, 36), (16,), "64x36p50 YCbCr-4:2:2 10 bit"),
    "larger": (PROMISED, VideoFormat(400, 200), (50,), "400x200p50 YCbCr-4:2:2 10 bit"),
    "interlaced": (PROMISED, PROMISED_FIELDS, (53,), "320x180i50 YCbCr-4:2:2 10 bit"),
    "progressive": (PROMISED_FIELDS, PROMISED, (53,), "320x180p50 YCbCr-4:2:2 10 bit"),
    "progressive of a field's height": (PROMISED_FIELDS, replace(PROMISED, height=90), (53,), "320x90p50 YCbCr-4:2:2 10 bit"),
    "PsF for progressive": (PROMISED, replace(PROMISED_FIELDS, rate=Fraction(50), segmented=True), (53,), "320x180PsF50 YCbCr-4:2:2 10 bit"),
    "fields for PsF": (replace(PROMISED_FIELDS, rate=Fraction(50), segmented=True), PROMISED_FIELDS, (53,), "320x180i50 YCbCr-4:2:2 10 bit"),
}


@pytest.fixture
def counters(tmp_path):
    workbench = Workbench(tmp_path, "ingest.scope")
    yield workbench.stage.counters
    workbench.close()


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_found_out_within_a_second_and_named(lie, counters, caplog):
    promised, sent, split, words = LIES[lie]
    bench, camera = Assembled(promised), Camera(sent, split)
    watch = MismatchWatch(counters, logging.getLogger("test"), promised, bench.monotonic_ns)
    begun, hidden_ns = bench.monotonic_ns, None
    with caplog.at_level(logging.WARNING):
        while bench.monotonic_ns - begun < 2_000_000_000 and not caplog.messages:
            frames = bench.feed(camera.frame()) + bench.wait(VISIT_NS)
            watch.look(bench.assembly, bench.monotonic_ns)
            if hidden_ns is None and counters.gauge("appliance_ingest_mismatch").value:
                hidden_ns = bench.monotonic_ns - begun
            elif hidden_ns is not None:
                assert all(frame.flags & MISMATCH for frame in frames)
    assert hidden_ns is not None and hidden_ns <= 1_000_000_000
    assert f"but seems to be {words};" in caplog.messages[0] and f"not the {promised}" in caplog.messages[0]
    bench.close()


def watched(bench, camera, watch, dice, frames):
    """Frames in real time with a stray packet to ten good ones; how many of the frames were shown whole."""
    shown = 0
    for _ in range(frames):
        packets = camera.frame()
        for stray in strays(dice, len(packets) // 10):
            packets.insert(dice.randrange(len(packets)), stray)
        shown += sum(not frame.flags for frame in bench.feed(packets) + bench.wait(VISIT_NS))
        watch.look(bench.assembly, bench.monotonic_ns)
    return shown


def test_stray_packets_of_another_sender_hide_no_picture(counters, caplog):
    bench, dice = Assembled(SMALL), random.Random(3)
    watch = MismatchWatch(counters, logging.getLogger("test"), SMALL, bench.monotonic_ns)
    assert watched(bench, Camera(SMALL), watch, dice, 60) == 60
    assert not caplog.messages and bench.count("srd_row") == bench.count("srd_offset") == 0 < bench.count("ssrc")
    bench.close()


@pytest.mark.parametrize("ssrc", [0x1234, 9])
def test_a_sender_that_begins_to_lie_among_strays_is_found_out_and_named(counters, caplog, ssrc):
    """With the SSRC that it had or another one."""
    bench, dice, camera = Assembled(SMALL), random.Random(3), Camera(SMALL)
    watch = MismatchWatch(counters, logging.getLogger("test"), SMALL, bench.monotonic_ns)
    assert watched(bench, camera, watch, dice, 3) == 3
    liar = Camera(VideoFormat(96, 50), (24,), ssrc=ssrc, sequence=camera.sequence, tai_ns=bench.tai_ns)
    with caplog.at_level(logging.WARNING):
        watched(bench, liar, watch, dice, 49)
        assert counters.gauge("appliance_ingest_mismatch").value
        watched(bench, liar, watch, dice, 20)
    assert len(caplog.messages) == 1 and "but seems to be 96x50p50 YCbCr-4:2:2 10 bit;" in caplog.messages[0]
    bench.close()


def test_a_sender_that_stalls_is_no_other_format(counters, caplog):
    """Within a frame, for longer than a second, going on where the time is by then: with the rest of the frame or without it."""
    bench, camera = Assembled(SMALL), Camera(SMALL)
    watch = MismatchWatch(counters, logging.getLogger("test"), SMALL, bench.monotonic_ns)

    def idle(visits):
        for _ in range(visits):
            bench.wait(VISIT_NS)
            watch.look(bench.assembly, bench.monotonic_ns)
        camera.tai_ns = bench.tai_ns

    bench.feed(camera.frame())
    for stall in range(6):
        idle(30)
        packets = camera.frame()
        bench.feed(packets[:100])
        idle(70)
        if stall % 2:
            bench.feed(packets[100:])
        else:
            camera.sequence -= len(packets) - 100
        bench.feed(camera.frame())
    statistics = bench.assembly.statistics()
    assert not caplog.messages and not any(frame.flags & MISMATCH for frame in bench.frames)
    assert statistics["outages"] == 6 and statistics["restarts"] == statistics["lost"] == 0 < statistics["late"]
    assert not any(statistics["malformed"].values())
    bench.close()


def test_what_fits_again_is_shown_again(counters, caplog):
    caplog.set_level(logging.INFO)
    bench, wrong = Assembled(PROMISED), Camera(VideoFormat(160, 90), (40,))
    watch = MismatchWatch(counters, logging.getLogger("test"), PROMISED, bench.monotonic_ns)
    for _ in range(60):
        bench.feed(wrong.frame()), bench.wait(VISIT_NS)
        watch.look(bench.assembly, bench.monotonic_ns)
    assert counters.gauge("appliance_ingest_arriving", figure="width").value == 160
    right = Camera(PROMISED, (53,), ssrc=9, tai_ns=bench.tai_ns)
    for _ in range(60):
        frames = bench.feed(right.frame()) + bench.wait(VISIT_NS)
        watch.look(bench.assembly, bench.monotonic_ns)
    assert frames and not frames[-1].flags & MISMATCH
    assert caplog.messages[-1] == "what arrives fits the SDP again"
    assert not any(counters.gauge("appliance_ingest_arriving", figure=figure).value for figure in ARRIVING_FIGURES)
    bench.close()
