"""The encode stage as the supervisor runs it: a thread a rendition, real rings, real encoders, and PyAV to look at what came out."""
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import av
import pytest

from appliance import clock, encode
from appliance.encode import choice
from appliance.encode import stage as encode_stage
from appliance.encode.encoder import EncoderFault
from appliance.frame import KEYFRAME, PlanarFormat, Rendition, VideoFormat
from tests.unit.encode.pictures import luma_of, psnr_db, tissue
from tests.workbench import Workbench, publish

PLANAR = PlanarFormat(128, 72)
WAIT_S = 20.0


class Running:
    """A running encode stage, fed frame by frame; the test is the convert stage before it and the worker behind it."""

    def __init__(self, folder, name="expert", encoder='h264 = "libx264"', rate=50):
        self.bench = Workbench(folder, f"encode.scope.{name}", VideoFormat(PLANAR.width, PLANAR.height, rate=rate), 1, encoder)
        self.renditions = [rendition.name for rendition in Rendition.named(name).levels]
        self.writer = self.bench.writer_into("planar.scope")
        self.readers = {name: self.bench.reader_of(f"units.scope.{name}.0") for name in self.renditions}
        self.viewers = {name: self.bench.viewers(name) for name in self.renditions}
        self.frames = tissue(PLANAR, 8)
        self.number = 0
        self._threads = ThreadPoolExecutor(1)
        self.ended = self._threads.submit(encode.run, self.bench.stage)

    def feed(self):
        self.number += 1
        publish(self.writer, self.frames[self.number % len(self.frames)], number=self.number, rtp_timestamp=1800 * self.number)

    def units(self, name):
        """(RTP timestamp, is keyframe, octets) of the next access unit of a rendition, waited for."""
        slot = self.readers[name].lease_next()
        while slot is None:
            assert self.readers[name].wait(WAIT_S), f"no access unit of {name}"
            slot = self.readers[name].lease_next()
        with memoryview(slot) as octets:
            found = slot.rtp_timestamp, bool(slot.flags & KEYFRAME), bytes(octets[: slot.payload_bytes])
        slot.release()
        return found

    def stop(self):
        self.bench.stage.stop(signal.SIGTERM)
        self.ended.result(WAIT_S)

    def close(self):
        self.bench.stage.stop()
        self._threads.shutdown()
        self.bench.close()


@pytest.fixture
def running(tmp_path):
    running = Running(tmp_path)
    yield running
    running.close()


def test_each_level_has_its_own_size_and_rate_and_shows_the_picture(running):
    for cell in running.viewers.values():
        cell.set(1)
    decoders = {name: av.CodecContext.create("h264", "r") for name in running.renditions}
    wanted = {"expert": (1, (128, 72)), "expert.half": (2, (128, 72)), "expert.small": (2, (64, 36))}
    for _ in range(8):
        running.feed()
        for name, (step, size) in wanted.items():
            if running.number % step:
                continue
            timestamp, keyframe, octets = running.units(name)
            assert timestamp == 1800 * running.number and keyframe == (running.number == step)
            (picture,) = decoders[name].decode(av.Packet(octets))
            assert (picture.width, picture.height) == size
            original = luma_of(running.frames[running.number % 8], PLANAR)
            if name == "expert.small":
                original = original.reshape(36, 2, 64, 2).mean(axis=(1, 3))
            assert psnr_db(picture.to_ndarray()[: size[1], : size[0]], original) > 30
    frames = {name: running.bench.value("appliance_encode_frames_total", rendition=name) for name in running.renditions}
    assert frames == {"expert": 8, "expert.half": 4, "expert.small": 4}


def test_a_level_that_nobody_watches_encodes_nothing_and_has_no_encoder(running):
    running.viewers["expert"].set(1)
    for _ in range(6):
        running.feed()
        running.units("expert")
    running.stop()
    for name in ("expert.half", "expert.small"):
        assert running.readers[name].lease_next() is None
        assert running.bench.value("appliance_encode_frames_total", rendition=name) == 0
        assert running.bench.value("appliance_encode_encoder_info", rendition=name, encoder="libx264") == 0
    assert running.bench.value("appliance_encode_encoder_info", rendition="expert", encoder="libx264") == 1


def test_a_keyframe_is_made_for_the_level_that_asks(running):
    for cell in running.viewers.values():
        cell.set(1)
    keyframes = {name: [] for name in running.renditions}
    for number in range(1, 9):
        if number == 5:
            running.bench.keyframe_requests("expert.half").add()
        running.feed()
        for name in running.renditions:
            if name == "expert" or number % 2 == 0:
                keyframes[name].append(running.units(name)[1])
    assert keyframes == {"expert": [True] + 7 * [False], "expert.half": [True, False, True, False], "expert.small": [True, False, False, False]}


def test_a_stream_that_is_slow_already_keeps_its_rate_on_every_level(tmp_path):
    running = Running(tmp_path, rate=30)
    try:
        for cell in running.viewers.values():
            cell.set(1)
        for _ in range(3):
            running.feed()
            assert {running.units(name)[0] for name in running.renditions} == {1800 * running.number}
    finally:
        running.close()


def test_vp8_has_the_same_levels(tmp_path):
    running = Running(tmp_path, "expert.vp8")
    try:
        running.viewers["expert.vp8.small"].set(1)
        running.feed()
        running.feed()
        timestamp, keyframe, octets = running.units("expert.vp8.small")
        (picture,) = av.CodecContext.create("vp8", "r").decode(av.Packet(octets))
        assert (timestamp, keyframe, picture.width, picture.height) == (3600, True, 64, 36)
    finally:
        running.close()


def test_an_error_in_one_thread_ends_the_stage_with_that_error(running, monkeypatch):
    running.viewers["expert"].set(1)
    running.feed()
    running.units("expert")
    monkeypatch.setattr(av, "codecs_available", set())  # no encoder can be opened any more
    running.viewers["expert.small"].set(1)
    running.feed()
    with pytest.raises(EncoderFault, match="not in this build of FFmpeg"):
        running.ended.result(WAIT_S)


def test_a_thread_that_does_not_get_on_is_no_sign_of_life(tmp_path):
    bench = Workbench(tmp_path, "encode.scope.expert", VideoFormat(PLANAR.width, PLANAR.height), 1, 'h264 = "libx264"')
    small = encode_stage.encodings_of(bench.stage)[2]
    bench.viewers("expert.small").set(1)
    thread = threading.Thread(target=small.run)
    with choice._PROVING:  # its encoder cannot be opened now
        thread.start()
        publish(bench.writer_into("planar.scope"), tissue(PLANAR, 1)[0], number=2)
        while not small.busy_ns(clock.monotonic_ns()):
            continue
        assert encode_stage.alive([small], clock.monotonic_ns())
        assert not encode_stage.alive([small], clock.monotonic_ns() + encode_stage.STUCK_NS)
    assert bench.reader_of("units.scope.expert.small.0").wait(WAIT_S)
    small.stop()
    thread.join(WAIT_S)
    assert encode_stage.alive([small], clock.monotonic_ns() + encode_stage.STUCK_NS)
    bench.close()


def test_it_stops_while_its_threads_wait(running):
    running.viewers["expert"].set(1)
    running.feed()
    assert running.units("expert")[1]
    running.stop()
    assert running.bench.value("appliance_stage_ready") == 1
    assert running.bench.value("appliance_stage_pid") == os.getpid()
