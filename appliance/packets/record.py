"""`appliance record-packets`: what arrives on a stream's flows into a pcapng file, beside the running appliance and unknown to it.

Each flow has a packet socket of its own, or without CAP_NET_RAW a UDP socket. Never overwrites a file, never fills a disk.
"""
import argparse
import asyncio
import difflib
import ipaddress
import os
import platform
import shutil
import signal
import socket
import struct
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from appliance import descriptions
from appliance.config import Config, StreamConfig, load
from appliance.errors import ConfigurationError
from appliance.packets import pcapng
from appliance.protocol.sdp import PATHS, Flow, VideoFlow
from appliance.runtime.multicast import interface_index, open_receiver
from appliance.runtime.packet_socket import RingUnavailable, open_packet_socket
from appliance.version import VERSION
from cext.recording import BLOCK_BYTES, FULL, FlowCounts, Recorder

SECONDS_MAX = 3600.0
MIB_MAX_DEFAULT = 4096
DISK_RESERVE_BYTES = 512 << 20
"""What a recording leaves free on its disk."""
RING_S = 2.0
"""For how long a video flow's packets wait for the disk without loss, within RING_BYTES_MIN and RING_BYTES_MAX."""
RING_BYTES_MIN, RING_BYTES_MAX = 4 << 20, 256 << 20
SLICE_NS = 100_000_000
_RECEIVE_BUFFER_BYTES = 64 << 20
_MEMBER_BUFFER_BYTES = 4096
_REFUSE_ALL = struct.pack("@HBBI", 0x06, 0, 0, 0)  # BPF: return 0. The socket is a member of the group and hears nothing
_SO_TIMESTAMPNS = 35


@dataclass(frozen=True)
class Recorded:
    """A path of a flow that is recorded: one interface of the file."""

    key: str
    flow: Flow
    interface: str
    sdp: str
    others: tuple[Flow, ...] = ()
    """Paths of the same group, port and interface, told apart by their senders alone: they are recorded with it."""

    @property
    def target(self) -> str:
        """Group and port, as people write them."""
        return f"[{self.flow.group}]:{self.flow.port}" if ":" in self.flow.group else f"{self.flow.group}:{self.flow.port}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("stream", metavar="STREAM", help="the stream's name in the configuration")
    parser.add_argument("file", type=Path, metavar="FILE.pcapng", help="a file that does not exist yet")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long (default: %(default)s); Ctrl-C ends earlier")
    parser.add_argument("--flows", default="", metavar="video,metadata", help="only these flows (default: all that the stream has)")
    parser.add_argument("--mib-max", type=int, default=MIB_MAX_DEFAULT, help="the file ends at this size (default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    """Records and prints a summary. Exit status 1 if nothing came, or the file ended early."""
    if not 0 < options.seconds <= SECONDS_MAX:
        raise ConfigurationError("record-packets --seconds", f"more than 0, at most {SECONDS_MAX:g}", f"{options.seconds:g}")
    config = load(options.config)
    stream = _stream(config, options.stream)
    flows = _flows(stream, [word for word in options.flows.split(",") if word])
    bytes_max = _room(options.file, options.mib_max << 20)
    expected = sum(_bytes_a_second(one.flow) for one in flows) * options.seconds
    if expected > bytes_max:
        print(f"about {expected / 2**20:.0f} MiB would come in {options.seconds:g} s; the file ends at {bytes_max >> 20} MiB "
              "(--mib-max, or the free space of the disk)", file=sys.stderr)
    ended = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.append(True))
    with ExitStack() as stack:
        return _record(stack, options.file, stream, flows, options.seconds, bytes_max, ended)


def _record(stack: ExitStack, path: Path, stream: StreamConfig, flows: list[Recorded], seconds: float, bytes_max: int, ended: list) -> int:
    ways = [_open(stack, one) for one in flows]  # before the file is made: it says what cannot be received
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, fd)
    recorder = Recorder(fd, bytes_max)
    recorder.block(pcapng.section_header(f"appliance {VERSION}", f"{platform.system()} {platform.release()}",
                                         f"stream {stream.name} ({stream.title}), recorded by appliance {VERSION} record-packets on {socket.gethostname()}"))
    for one, (link_type, _, words) in zip(flows, ways):
        recorder.block(pcapng.interface(link_type, one.interface, f"{stream.name} {one.key} {one.target}", f"{words}. appliance {VERSION}. Its SDP:\n{one.sdp}"))
    for _, add, _ in ways:
        add(recorder)
    print(f"recording {', '.join(f'{one.key} {one.target} on {one.interface}' for one in flows)} for {seconds:g} s ...", file=sys.stderr, flush=True)
    begun_ns, until, trouble = time.time_ns(), time.monotonic() + seconds, ""
    try:
        outcome = 0
        while not outcome and not ended and (left_s := until - time.monotonic()) > 0:
            outcome = recorder.run(min(SLICE_NS, round(left_s * 1e9)))
        recorder.end()
        while not outcome:
            outcome = recorder.run(SLICE_NS)
        trouble = f"the file has reached its {bytes_max >> 20} MiB" if outcome == FULL else ""
        ended_ns = time.time_ns()
        for number, counts in enumerate(recorder.counts()):
            recorder.block(pcapng.statistics(number, begun_ns, ended_ns, counts.packets, counts.drops))
        recorder.flush()
    except OSError as error:
        trouble = f"the recording ended early, and what is in the file can be read: {error.strerror or error}"
    print(summary(path, flows, [way[2] for way in ways], recorder.counts(), path.stat().st_size))
    if trouble:
        print(f"appliance: {trouble}", file=sys.stderr)
    return 1 if trouble or not any(counts.packets for counts in recorder.counts()) else 0


def summary(path: Path, flows: list[Recorded], ways: list[str], counts: list[FlowCounts], octets: int) -> str:
    """What a person reads at the end."""
    span_ns = max(count.last_ns for count in counts) - min((count.first_ns for count in counts if count.packets), default=0)
    lines = [f"{path}: {span_ns / 1e9:.1f} s, {sum(count.packets for count in counts):,} packets, {octets / 2**20:.1f} MiB"]
    for one, way, count in zip(flows, ways, counts):
        if not count.packets:
            lines.append(f"  {one.key} {one.target} on {one.interface}: NOTHING CAME. Is the sender on, does it send there, is this its interface, "
                         "and does the switch forward the group (IGMP)?")
            continue
        lost = f"{count.drops:,} LOST on this machine: its disk or processor was too slow" if count.drops else "none lost on this machine"
        rate = count.octets * 8e3 / max(1, count.last_ns - count.first_ns)
        lines.append(f"  {one.key} {one.target} on {one.interface}: {count.packets:,} packets, {rate:,.1f} Mbit/s, {lost}; {way}")
    lines.append("The file holds what the camera sent, and who the patient is if it sends that: treat it so.")
    if any(one.key.startswith("metadata") for one in flows):
        lines.append("--flows video leaves the metadata out.")
    return "\n".join(lines)


def _stream(config: Config, name: str) -> StreamConfig:
    names = [stream.name for stream in config.streams]
    if name not in names:
        close = difflib.get_close_matches(name, names, 1)
        raise ConfigurationError("record-packets STREAM", f"one of {', '.join(names)}", repr(name), f"Did you mean {close[0]!r}?" if close else "")
    return config.stream(name)


def _flows(stream: StreamConfig, wanted: list[str]) -> list[Recorded]:
    places = descriptions.places(stream)
    for key in wanted:
        if key not in places:
            raise ConfigurationError("record-packets --flows", f"some of {', '.join(places)}", key)
    found = []
    for key in wanted or places:
        text = asyncio.run(descriptions.read(places[key], f'stream "{stream.name}", {key}')).text
        found += _paths(key, descriptions.flow_of(key, places[key], text), stream, text)
    return found


def _paths(key: str, flow: Flow, stream: StreamConfig, text: str) -> list[Recorded]:
    """Each path of a flow (ST 2022-7); two that only their senders tell apart are one."""
    found: list[Recorded] = []
    for number, leg in enumerate(flow.legs):
        name, interface = f"{key} path {PATHS[number]}" if flow.second else key, stream.interface_of(number)
        if found and (leg.group, leg.port, interface) == (found[0].flow.group, found[0].flow.port, found[0].interface):
            found[0] = replace(found[0], key=f"{key} paths {' and '.join(PATHS)}", others=(leg,))
        else:
            found.append(Recorded(name, leg, interface, text))
    return found


def _bytes_a_second(flow: Flow) -> float:
    return float(flow.format.frame_bytes * flow.format.picture_rate) * 1.1 if isinstance(flow, VideoFlow) else 0.0


def _room(path: Path, wanted: int) -> int:
    """How large the file may get. ConfigurationError if it is there already or the disk is full."""
    if path.exists():
        raise ConfigurationError(str(path), "a file that does not exist yet", "one that does", "Choose another name, or remove it.")
    try:
        free = shutil.disk_usage(path.absolute().parent).free
    except OSError as error:
        raise ConfigurationError(str(path), "a folder that exists", error.strerror or str(error)) from error
    if free <= DISK_RESERVE_BYTES:
        raise ConfigurationError(str(path), f"more than {DISK_RESERVE_BYTES >> 20} MiB free on the disk", f"{free >> 20} MiB",
                                 "Name a file on another disk.")
    return min(wanted, free - DISK_RESERVE_BYTES)


def _open(stack: ExitStack, one: Recorded):
    """The link type, how to add it to a recorder, and words for the file and the summary. Opens one flow."""
    multicast, index = ipaddress.ip_address(one.flow.group).is_multicast, interface_index(one.interface)
    try:
        # Whoever sends there is of interest, not only whom the SDP names.
        wanted = min(RING_BYTES_MAX, max(RING_BYTES_MIN, round(_bytes_a_second(one.flow) * RING_S)))
        packets = open_packet_socket(replace(one.flow, source_address=None), index, wanted // BLOCK_BYTES)
    except RingUnavailable as error:
        joined = replace(one.flow, source_address=None) if one.others else one.flow
        receiver = stack.enter_context(open_receiver(joined, one.interface, _RECEIVE_BUFFER_BYTES))
        receiver.setblocking(False)
        receiver.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        words = f"received by a UDP socket ({error}): IP and UDP headers are made from what it tells"
        return pcapng.RAW_IP, lambda recorder: recorder.add_socket(receiver.fileno(), one.flow.group, one.flow.port), words
    stack.callback(packets.socket.close)
    for leg in (one.flow, *one.others) if multicast else ():
        stack.enter_context(open_receiver(leg, one.interface, _MEMBER_BUFFER_BYTES, _REFUSE_ALL))
    words = "received by a packet socket, times by the kernel"
    return pcapng.ETHERNET, lambda recorder: recorder.add_ring(packets.socket.fileno(), packets.blocks, packets.merged), words
