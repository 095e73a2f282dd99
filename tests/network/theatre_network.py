"""Loopback as the theatre's network: free groups and ports, senders, and the ingest stage running in a thread of the test."""
import os
import random
import socket
import struct
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction

from appliance import ingest, sound
from appliance.protocol.sdp import AudioFlow, VideoFlow, emit_audio
from appliance.runtime.stage import Flows
from tests.camera import PAYLOAD_TYPE, SMALL
from tests.workbench import Workbench

LOOPBACK = socket.if_nametoindex("lo")
UDP_SEGMENT = 103
PATIENCE_S = 10.0
SLOW = replace(SMALL, rate=Fraction(1))
"""Frames may take their time: a busy machine writes these packets one by one."""


def free_flow(format, group: str | None = None, **fields) -> VideoFlow:
    """A flow to a group and port that nobody uses."""
    group = group or f"239.{random.randrange(1, 250)}.{random.randrange(250)}.{random.randrange(1, 250)}"
    with socket.socket(socket.AF_INET6 if ":" in group else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((group, 0))
        port = probe.getsockname()[1]
    return VideoFlow(format=format, group=group, port=port, payload_type=PAYLOAD_TYPE, **fields)


class Sender:
    """Sends datagrams to a flow over loopback, from `address` if one is given."""

    def __init__(self, flow: VideoFlow, address: str = "127.0.0.1"):
        self.flow = flow
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("@4s4si", bytes(4), bytes(4), LOOPBACK))
        self.socket.bind((address, 0))
        self.socket.connect((flow.group, flow.port))

    def send(self, packets):
        """One datagram a packet."""
        for packet in packets:
            self.socket.send(packet)

    def send_merged(self, packets):
        """Packets of one size (the last may be shorter) in one call, as generic segmentation offload sends them."""
        control = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("@H", len(packets[0])))]
        self.socket.sendmsg([b"".join(packets)], control)

    def close(self):
        """Closes the socket."""
        self.socket.close()


class RunningIngest:
    """The ingest stage of a flow, and a reader of what it publishes."""

    def __init__(self, bench: Workbench):
        self.bench, self.reader = bench, bench.reader_of("raw.scope")

    def next_frame(self):
        """(samples, number, flags, rtp_timestamp, rows_missing) of the newest frame not yet seen; AssertionError if none comes in time."""
        deadline = time.monotonic() + PATIENCE_S
        while (slot := self.reader.lease_latest()) is None:
            assert time.monotonic() < deadline, "no frame came"
            self.reader.wait(0.1)
        with memoryview(slot) as octets:
            frame = bytes(octets), slot.number, slot.flags, slot.rtp_timestamp, slot.rows_missing
        slot.release()
        return frame

    def until(self, metric: str, value: int, **labels: str):
        """Waits until a counter of the stage has at least this value."""
        deadline = time.monotonic() + PATIENCE_S
        while self.value(metric, **labels) < value:
            assert time.monotonic() < deadline, f"{metric} {labels} is {self.value(metric, **labels)}, not {value}"
            self.reader.wait(0.02)

    def value(self, metric: str, **labels: str) -> int:
        """A counter of the stage."""
        return self.bench.value(metric, **labels)


@contextmanager
def _running(bench: Workbench, run, thing):
    """Runs the bench's stage in a thread until the block ends, which gets `thing`; an error of the stage is raised there."""
    errors = []

    def body():
        try:
            run(bench.stage)
        except BaseException as error:  # brought to the test below
            errors.append(error)

    thread = threading.Thread(target=body, name=bench.name)
    thread.start()
    try:
        ready_by = time.monotonic() + PATIENCE_S
        while not bench.value("appliance_stage_ready") and thread.is_alive():
            assert time.monotonic() < ready_by, "the stage did not get ready"
            os.sched_yield()
        yield thing
    finally:
        bench.stage.stop()
        thread.join(PATIENCE_S)
        vars(thing).pop("reader", None)
        bench.close()
    if errors:
        raise errors[0]


def running_ingest(folder, flow: VideoFlow, receive: str = "auto", interface: str = "lo", second_interface: str | None = None, path_skew_ms: int = 10):
    """The ingest stage of a flow at work, as a block's RunningIngest."""
    bench = Workbench(folder, "ingest.scope", flow.format, stream=f"path_skew_ms = {path_skew_ms}", second=flow.second)
    [stream] = bench.stage.config.streams
    bench.stage.config = replace(bench.stage.config, streams=(replace(stream, receive=receive, interfaces=(interface, second_interface or interface)),))
    bench.stage.flows["scope"] = Flows(replace(flow))
    return _running(bench, ingest.run, RunningIngest(bench))


class RunningSound:
    """The sound stage of a flow."""

    def __init__(self, bench: Workbench):
        self.bench = bench

    def until(self, condition, what: str):
        """Waits for a condition on value()."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, what
            time.sleep(0.02)

    def value(self, metric: str, **labels: str) -> int:
        """A counter of the stage."""
        return self.bench.value(f"appliance_sound_{metric}", **labels)


def running_sound(folder, flow: AudioFlow, interface: str, second_interface: str):
    """The sound stage of a flow at work, as a block's RunningSound."""
    (folder / "sound.sdp").write_text(emit_audio(flow))
    bench = Workbench(folder, "sound.scope", stream='audio = "sound.sdp"')
    [stream] = bench.stage.config.streams
    bench.stage.config = replace(bench.stage.config, streams=(replace(stream, interfaces=(interface, second_interface)),))
    return _running(bench, sound.run, RunningSound(bench))
