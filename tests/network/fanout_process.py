"""A fan-out worker as its own process, with real rings and counters; the test holds the encoders' and the metadata stage's ends."""
import itertools
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from fractions import Fraction
from functools import cache

import av
import numpy as np

from appliance import clock, config, descriptions, topology
from appliance.frame import KEYFRAME, Codec, Rendition, VideoFormat
from appliance.protocol import sdp
from appliance.resources import Resources
from appliance.runtime.plan import PlanSender
from appliance.runtime.ring import RingWriter
from appliance.runtime.stage import PLAN_VARIABLE

STREAM = "scope"
WORKER = "fanout.0"
UNITS_A_SECOND = 50
START_LIMIT_S = 10
CONFIGURATION = """
[server]
listen = "127.0.0.1:8443"
fanout_workers = 1
viewers_max = {viewers_max}
[[stream]]
name = "scope"
interface = "lo"
video = "scope.sdp"
metadata = "scope-metadata.sdp"
"""


class FanoutProcess:
    """Starts the worker; every resource is real. Use as a context manager."""

    def __init__(self, folder, viewers_max: int = 20, video: VideoFormat = VideoFormat(320, 176, rate=Fraction(UNITS_A_SECOND))) -> None:
        (folder / "scope.sdp").write_text(sdp.emit_video(sdp.VideoFlow(format=video, group="239.1.2.3", port=5004, payload_type=96)))
        (folder / "scope-metadata.sdp").write_text(sdp.emit_metadata(sdp.MetadataFlow(group="239.1.2.3", port=5006, payload_type=97)))
        parsed = config.parse(CONFIGURATION.format(viewers_max=viewers_max), folder / "appliance.toml")
        self.config = replace(parsed, server=replace(parsed.server, listen_port=0, metrics_port=0))
        self.topology = topology.lay_out(self.config, descriptions.read_all(self.config.streams).flows)
        self.resources = Resources(self.config, self.topology)
        self.process = self._start()

    def _plan(self, name: str):
        return self.resources.plan_of(next(spec for spec in self.topology.stages if spec.name == name), self.config, self.topology)

    def _start(self) -> subprocess.Popen:
        self.plans = PlanSender()
        process = subprocess.Popen([sys.executable, "-m", "appliance", "stage", WORKER], env=os.environ | {PLAN_VARIABLE: str(self.plans.theirs)},
                                   pass_fds=[self.plans.theirs], stderr=subprocess.PIPE, text=True)
        self.plans.close_theirs()
        self.plans.send(self._plan(WORKER))
        self.log: list[str] = []
        threading.Thread(target=lambda: self.log.extend(process.stderr), daemon=True).start()
        deadline = time.monotonic() + START_LIMIT_S
        while not self.value("appliance_stage_ready"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the worker did not start:\n" + "".join(self.log))
            time.sleep(0.01)
        return process

    @property
    def control_path(self) -> str:
        """Path of the worker's Unix socket."""
        return self._plan("gateway").peers[WORKER]

    def writer(self, ring: str, stage: str) -> RingWriter:
        """The writer's end of a ring that the worker reads."""
        end = next(end for end in self._plan(stage).rings if end.name == ring)
        return RingWriter(end.fd, list(end.doorbells), end.format)

    def value(self, metric: str, **labels: str) -> int:
        """A counter or gauge of the worker."""
        return self.resources.counters.find(WORKER, metric, **labels).value

    def clock_of(self, audience: str) -> clock.AudienceClock:
        """The clock that the worker tells an audience of the stream."""
        return clock.AudienceClock() if audience == "expert" else clock.AudienceClock.secret(self._plan(WORKER).secret, STREAM)

    def cpu_s(self) -> float:
        """CPU time that the worker's threads have taken, from the scheduler (the usual 10 ms ticks miss short work)."""
        total_ns = 0
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            with open(f"/proc/{self.process.pid}/task/{task}/schedstat") as file:
                total_ns += int(file.read().split()[0])
        return total_ns / 1e9

    def resident_bytes(self) -> int:
        """Memory of the worker."""
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def __enter__(self) -> "FanoutProcess":
        return self

    def __exit__(self, *_) -> None:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.resources.close()


@cache
def clip(codec: Codec, width: int = 320, height: int = 176, units: int = UNITS_A_SECOND, kilobits: int = 1500) -> tuple[bytes, ...]:
    """One second of coded pictures with a bright square that moves; the first is a keyframe, the others refer to what came before."""
    name, pixels = ("libx264", "yuv420p") if codec is Codec.H264 else ("libvpx", "yuv420p")
    context = av.CodecContext.create(name, "w")
    context.width, context.height, context.pix_fmt, context.time_base = width, height, pixels, Fraction(1, UNITS_A_SECOND)
    context.bit_rate, context.gop_size, context.max_b_frames = kilobits * 1000, 10 * units, 0
    context.options = ({"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline"} if codec is Codec.H264
                       else {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"})
    found = []
    for i in range(units):
        picture = np.full((height, width, 3), 60, np.uint8)
        picture[40:100, 4 * i % (width - 60):4 * i % (width - 60) + 60] = 220
        frame = av.VideoFrame.from_ndarray(picture, "rgb24")
        frame.pts = i
        found += [bytes(packet) for packet in context.encode(frame)]
    return tuple(found + [bytes(packet) for packet in context.encode(None)])


class Encoder:
    """Publishes a clip at its rate, from the keyframe on whenever the worker asks for one. Use as a context manager."""

    def __init__(self, worker: FanoutProcess, rendition: str = "expert", units: tuple[bytes, ...] | None = None) -> None:
        self._units = units or clip(Codec.VP8 if rendition.endswith("vp8") else Codec.H264)
        coding = Rendition.named(rendition).coding
        self._writer = worker.writer(f"units.{STREAM}.{coding.name}.0", f"encode.{STREAM}.{coding.name}")
        self._requests = lambda: sum(worker.value("appliance_fanout_keyframe_requests_total", rendition=served.name) for served in coding.serves)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.published = 0

    def _run(self) -> None:
        due, requests, place = time.monotonic(), self._requests(), 0
        for number in itertools.count(1):
            if self._requests() != requests:
                requests, place = self._requests(), 0
            slot = self._writer.claim()
            if slot is not None:
                unit = self._units[place]
                with memoryview(slot) as payload:
                    payload[:len(unit)] = unit
                slot.payload_bytes, slot.number, slot.flags = len(unit), number, KEYFRAME if place == 0 else 0
                slot.capture_tai_ns = clock.tai_ns()
                slot.rtp_timestamp = clock.rtp_timestamp(slot.capture_tai_ns)
                slot.publish()
                self.published += 1
            place = (place + 1) % len(self._units)
            due += 1 / UNITS_A_SECOND
            if self._stopped.wait(max(0.0, due - time.monotonic())):
                return

    def __enter__(self) -> "Encoder":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stopped.set()
        self._thread.join()


def publish_record(writer: RingWriter, message: bytes, flags: int = 0) -> None:
    """Publishes one metadata record; drops it, as the metadata stage would, when the worker is too far behind."""
    slot = writer.claim()
    if slot is None:
        return
    with memoryview(slot) as payload:
        payload[:len(message)] = message
    slot.payload_bytes, slot.flags = len(message), flags
    slot.publish()
