"""A flow by two cables (ST 2022-7), by packet ring and by socket: losses that the other makes up for, cables that are cut and mended, interfaces that are missing."""
import logging
import random
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest

from appliance import config
from appliance.errors import ConfigurationError
from appliance.ingest import accounts, intake
from appliance.ingest.intake import Intake
from appliance.protocol.sdp import AudioFlow, Leg
from appliance.runtime.metrics import PACKET_RING, SOCKET
from tests.camera import Assembled, Camera
from tests.musician import PAYLOAD_TYPE, Musician
from tests.network.theatre_network import PATIENCE_S, SLOW, free_flow, running_ingest, running_sound
from tests.network.wire import (
    SECOND_ADDRESS,
    SECOND_ADDRESS_6,
    SECOND_CAMERA,
    SECOND_THEATRE,
    THEATRE,
    Wire,
    datagram,
    ip,
    ipv4,
    ipv6,
    plug_in,
    udp,
)

LAG_PACKETS = 40
"""How far the second path is behind: a quarter of a frame."""


def plug_in_second():
    plug_in(SECOND_CAMERA, SECOND_THEATRE, SECOND_ADDRESS, SECOND_ADDRESS_6)


@pytest.fixture
def cables(network):
    plug_in_second()


def two_legged(group_apart=True):
    flow, other = free_flow(SLOW), free_flow(SLOW)
    second = Leg(group=other.group, port=other.port, payload_type=96) if group_apart else Leg(group=flow.group, port=flow.port, payload_type=96)
    return replace(flow, second=second)


class Sender:
    """A camera on both cables, the second one behind; knows which of its packets got through to where."""

    def __init__(self, flow):
        self.camera, self.legs = Camera(), flow.legs
        self.wires = [Wire(), Wire(SECOND_CAMERA, SECOND_THEATRE)]
        self._waiting = []
        self.came = []  # for each packet the paths that it came by

    def frame(self, lost=lambda path: False):
        """The next frame."""
        for packet in self.camera.frame():
            number = len(self.came)
            self.came.append(set())
            self._write(0, number, packet, lost)
            self._waiting.append((number, packet))
            if len(self._waiting) > LAG_PACKETS:
                self._write(1, *self._waiting.pop(0), lost)

    def end(self, lost=lambda path: False):
        """Lets the second path come to where the first is."""
        while self._waiting:
            self._write(1, *self._waiting.pop(0), lost)

    def _write(self, path, number, packet, lost):
        if lost(path):
            return
        try:
            self.wires[path].send(datagram(self.legs[path], packet))
        except OSError:
            return  # the cable is cut
        self.came[number].add(path)

    def close(self):
        for wire in self.wires:
            wire.close()

    @property
    def whole(self):
        """How many frames came whole by either path."""
        frames = [self.came[start:start + 160] for start in range(0, len(self.came), 160)]
        return sum(all(frame) for frame in frames)


@pytest.fixture
def receiving(receive, tmp_path, monkeypatch):
    """Runs the ingest stage of a flow at the theatre's ends of both cables. A path is not alive any more after a fifth of a second."""
    monkeypatch.setattr(accounts, "PATH_SILENCE_NS", 200_000_000)
    monkeypatch.setattr(config, "PATH_SKEW_MS_MAX", 1000)  # nor does a sender that is kept from the processor fail the test

    @contextmanager
    def run(flow):
        with running_ingest(tmp_path, flow, receive, THEATRE, SECOND_THEATRE, path_skew_ms=400) as ingest:
            sender = Sender(flow)
            yield ingest, sender
            sender.close()
    return run


def counted(ingest, *names):
    """Counters of both paths, by name."""
    return {name: [ingest.value(f"appliance_ingest_path_{name}_total", path=path) for path in "ab"] for name in names}


@pytest.mark.parametrize("group_apart", [True, False], ids=["a group each", "one group"])
def test_with_ten_percent_lost_on_each_path_every_frame_that_came_is_whole(cables, receiving, group_apart):
    fate = random.Random(5)
    with receiving(two_legged(group_apart)) as (ingest, sender):
        sender.frame()
        for _ in range(40):
            sender.frame(lambda path: fate.random() < 0.1)
        for _ in range(2):
            sender.frame()  # what is behind has come to its end then
        sender.end()
        ingest.until("appliance_ingest_frames_total", 43)
        lost = [sum(path not in came for came in sender.came) for path in (0, 1)]
        for path, count in zip("ab", lost):
            ingest.until("appliance_ingest_path_packets_lost_total", count, path=path)
        both = sum(not came for came in sender.came)
        assert 43 - ingest.value("appliance_ingest_frames_incomplete_total") == sender.whole < 43
        assert ingest.value("appliance_ingest_packets_lost_total") == both > 0
        assert counted(ingest, "packets", "packets_lost", "packets_recovered", "packets_duplicate", "packets_late", "kernel_drops") == {
            "packets": [len(sender.came) - count for count in lost], "packets_lost": lost, "packets_recovered": [count - both for count in lost],
            "packets_duplicate": [0, 0], "packets_late": [0, 0], "kernel_drops": [0, 0]}
        assert sum(counted(ingest, "packets_first")["packets_first"]) == ingest.value("appliance_ingest_packets_total") == len(sender.came) - both
        assert ingest.value("appliance_ingest_packets_duplicate_total") == ingest.value("appliance_ingest_packets_differing_total") == 0


@pytest.mark.parametrize("cut", ["a", "b"])
def test_a_cable_is_cut_and_mended_and_nothing_is_lost(cables, receiving, cut, caplog):
    caplog.set_level(logging.INFO)
    interface = {"a": THEATRE, "b": SECOND_THEATRE}[cut]
    with receiving(two_legged()) as (ingest, sender):
        def alive():
            return {path: ingest.value("appliance_ingest_path_alive", path=path) for path in "ab"}

        def until_alive(expected):
            deadline = time.monotonic() + PATIENCE_S
            while alive() != expected:
                assert time.monotonic() < deadline, f"{alive()} and not {expected}"
                sender.frame()

        for _ in range(5):
            sender.frame()
        until_alive({"a": 1, "b": 1})
        sender.frame()
        ip("link", "set", interface, "down")
        until_alive({"a": cut != "a", "b": cut != "b"})
        ip("link", "set", interface, "up")
        until_alive({"a": 1, "b": 1})
        for _ in range(3):
            sender.frame()
        sender.end()
        count = len(sender.camera.sent)
        ingest.until("appliance_ingest_frames_total", count)
        assert sender.whole == count
        assert ingest.value("appliance_ingest_frames_incomplete_total") == ingest.value("appliance_ingest_packets_lost_total") == 0
        assert f"path {cut} brings nothing; the picture goes on" in caplog.text and "both paths bring the picture" in caplog.text


def test_an_interface_that_is_missing_at_the_start_joins_later(network, receive, tmp_path, monkeypatch):
    monkeypatch.setattr(intake, "SILENCE_NS_MAX", 100_000_000)
    flow, camera, wire = two_legged(), Camera(), Wire()
    with running_ingest(tmp_path, flow, receive, THEATRE, SECOND_THEATRE) as ingest:
        for packet in camera.frame():
            wire.send(datagram(flow, packet))
        assert ingest.next_frame()[0] == camera.sent[0]
        plug_in_second()
        second = Wire(SECOND_CAMERA, SECOND_THEATRE)
        deadline = time.monotonic() + PATIENCE_S
        while not ingest.value("appliance_ingest_path_packets_total", path="b"):
            assert time.monotonic() < deadline, "the second path was not joined"
            for packet in camera.frame():
                second.send(datagram(flow.legs[1], packet))
            ingest.reader.wait(0.1)
        second.close()
        wire.close()


def test_no_interface_at_all_is_an_error_that_names_both(network):
    bench = Assembled(SLOW, second_payload_type=96, skew_ns=1_000_000, frames_open=3)
    with pytest.raises(ConfigurationError) as refused:
        Intake(two_legged(), "eth98", bench.assembly, SOCKET, "eth99")
    assert "eth98" in str(refused.value) and "eth99" in str(refused.value)
    bench.close()


def test_sound_comes_by_either_cable(cables, tmp_path):
    """Losses on both, then a cable that is cut: what came on either is heard, each packet once."""
    first, other = free_flow(SLOW), free_flow(SLOW)
    flow = AudioFlow(group=first.group, port=first.port, payload_type=PAYLOAD_TYPE, rate_hz=48_000, channels=2, depth=24, packet_us=1000,
                     second=Leg(group=other.group, port=other.port, payload_type=PAYLOAD_TYPE))
    wires, musician, fate = [Wire(), Wire(SECOND_CAMERA, SECOND_THEATRE)], Musician(tick=time.time_ns() * 48 // 10**6), random.Random(3)
    came, cut = [], set()

    def play(packets, lost):
        for number in range(packets):
            packet = musician.packet()
            came.append({path for path in (0, 1) if path not in cut and not fate.random() < lost})
            for path in came[-1]:
                wires[path].send(datagram(flow.legs[path], packet))
            if number % 10 == 9:
                time.sleep(0.01)  # as sound comes: the stage goes by its time

    with running_sound(tmp_path, flow, THEATRE, SECOND_THEATRE) as sound:
        play(10, 0)
        play(400, 0.1)
        ip("link", "set", THEATRE, "down")
        cut.add(0)
        play(200, 0)
        both = sum(not paths for paths in came)
        sound.until(lambda: sound.value("packets_total") == len(came) - both - 1, "every packet that came on either path, but the first, which has nothing to fit")
        assert sound.value("packets_duplicate_total") == sum(len(paths) == 2 for paths in came)
        assert 0 < both and sound.value("packets_lost_total") <= both
    for wire in wires:
        wire.close()


@pytest.mark.parametrize("group, prefix, packet_of", [(None, "10.77.0.", ipv4), ("ff15::79", "fd77::", ipv6)], ids=["IPv4", "IPv6"])
def test_senders_to_one_group_on_one_cable_are_told_apart(network, receive, group, prefix, packet_of):
    flow = free_flow(SLOW, group, source_address=prefix + "9")
    flow = replace(flow, second=Leg(group=flow.group, port=flow.port, source_address=prefix + "8", payload_type=96))
    bench, camera, wire = Assembled(SLOW, second_payload_type=96, skew_ns=50_000_000, frames_open=3), Camera(), Wire()
    with Intake(flow, THEATRE, bench.assembly, receive) as both:
        both.run(1_000_000)
        for number, packet in enumerate(camera.frame()):
            for source in (prefix + "98"[number % 3 % 2], prefix + "7"):
                wire.send(packet_of(flow, udp(flow, packet, source), source))
        deadline = time.monotonic() + PATIENCE_S
        while bench.count("packets") < 160:
            assert time.monotonic() < deadline
            both.run(10_000_000)
        bench.collect()
        assert bench.frames[0].samples == camera.sent[0]
        assert all(told["packets"] for told in bench.assembly.statistics()["paths"]) and bench.count("duplicate") == bench.count("redundant") == 0
        strangers = [totals["refused"]["source"] for totals in both.path_statistics().values()] if receive == PACKET_RING else [160, 160]
        assert strangers == [160, 160], "whose packets come by both rings, and are the other path's in neither"
    wire.close()
    bench.close()
