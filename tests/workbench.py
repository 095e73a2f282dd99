"""One stage in the test's own process, with real rings and counters, and the far ends of its rings in the test's hands."""
import os
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction

import numpy as np

from appliance import config, descriptions, topology
from appliance.frame import VideoFormat
from appliance.protocol import sdp
from appliance.resources import Resources
from appliance.runtime.counters import Cell
from appliance.runtime.ring import RingReader, RingWriter
from appliance.runtime.stage import Stage

FLOW = dict(group="239.1.2.3", port=5004, payload_type=96)
CONFIGURATION = """
[server]
listen = "127.0.0.1:8443"
metrics = "127.0.0.1:9464"
state_dir = "state"
fanout_workers = {workers}
[encoder]
{encoder}
[[stream]]
name = "scope"
title = "Endoscope"
interface = "lo"
video = "scope.sdp"
{stream}
"""


class Workbench:
    """Lays out an appliance with one stream, "scope", and makes one of its stages."""

    def __init__(self, folder, name: str, video: VideoFormat = VideoFormat(64, 36, rate=Fraction(50)), workers: int = 2, encoder: str = "",
                 stream: str = "", second: sdp.Leg | None = None) -> None:
        """`encoder` and `stream`: further lines of their tables; `second`: the flow's second path."""
        (folder / "scope.sdp").write_text(sdp.emit_video(sdp.VideoFlow(format=video, second=second, **FLOW)))
        parsed = config.parse(CONFIGURATION.format(workers=workers, encoder=encoder, stream=stream), folder / "appliance.toml")
        server = replace(parsed.server, listen_port=0, metrics_port=0)  # whichever ports are free
        self.config = replace(parsed, server=server)
        self.name, self.video = name, video
        self._undo = ExitStack()
        self._topology = topology.lay_out(self.config, descriptions.read_all(self.config.streams).flows)
        self.resources = Resources(self.config, self._topology)
        self._undo.callback(self.resources.close)
        spec = next(spec for spec in self._topology.stages if spec.name == name)
        plan = self.resources.plan_of(spec, self.config, self._topology)
        # Stage and resources live in one process here, and each closes its sockets: a number that both own would be closed twice.
        self.stage = Stage(replace(plan, sockets={kind: os.dup(number) for kind, number in plan.sockets.items()}))

    def _end_of(self, stage: str, ring: str, index: int = -1):
        spec = next(spec for spec in self._topology.stages if spec.name == stage)
        return next(end for end in self.resources.plan_of(spec, self.config, self._topology).rings if (end.name, end.index) == (ring, index))

    def _ring(self, name: str):
        return next(ring for ring in self._topology.rings if ring.name == name)

    def writer_into(self, ring: str) -> RingWriter:
        """The writer's end of a ring that the stage reads."""
        end = self._end_of(self._ring(ring).writer, ring)
        return RingWriter(end.fd, list(end.doorbells), end.format)

    def reader_of(self, ring: str, place: int = 0) -> RingReader:
        """A reader's end of a ring that the stage writes."""
        end = self._end_of(self._ring(ring).readers[place], ring, place)
        return RingReader(end.fd, end.index, end.doorbells[0], end.format)

    def viewers(self, rendition: str, worker: int = 0) -> Cell:
        """The cell in which a fan-out worker tells how many watch."""
        return self.resources.counters.find(f"fanout.{worker}", "appliance_fanout_viewers", stream="scope", rendition=rendition)

    def keyframe_requests(self, rendition: str, worker: int = 0) -> Cell:
        """The cell in which a fan-out worker asks for keyframes."""
        return self.resources.counters.find(f"fanout.{worker}", "appliance_fanout_keyframe_requests_total", stream="scope", rendition=rendition)

    def value(self, metric: str, **labels: str) -> int:
        """A counter or gauge of the stage."""
        return self.resources.counters.find(self.name, metric, **labels).value

    def observed(self, metric: str, **labels: str) -> int:
        """How many durations a histogram of the stage has seen."""
        return sum(self.resources.counters.histogram(self.name, metric, **labels).snapshot()[0])

    def close(self) -> None:
        """Lets go of rings and sockets."""
        self._undo.close()


def publish(writer: RingWriter, payload: np.ndarray, **header: int) -> None:
    """Publishes one frame with these header fields."""
    slot = writer.claim()
    with memoryview(slot) as octets:
        octets[: len(payload)] = payload
    for name, value in header.items():
        setattr(slot, name, value)
    slot.publish()
