"""The source's loop: one picture after the other at its TAI instant, metadata first, then the video's packets.

Called by run(). Picture N of an endless count from the PTP epoch is due at N x picture time (ST 2110-10 section 7.4); even ones are first fields
where a frame has two. A picture whose time has passed is left out, never sent late. Retries nothing.
"""
import errno
import logging
import secrets
import socket
from collections.abc import Iterable
from fractions import Fraction

from appliance import clock
from appliance.protocol import sdp, timing
from appliance.protocol.rfc4175 import parts
from appliance.source import companions, metadata, network, sound
from appliance.source.bars import Bars
from appliance.source.options import Plan
from appliance.source.scene import Scene
from cext import source as native

VIDEO_PAYLOAD_TYPE = 96
_SECOND_NS = 1_000_000_000
_ACTIVE_PART = Fraction(9, 10)  # of the interval of a frame, field or segment; the rest lets a receiver finish before the next
_LEAD_NS = 20_000_000           # from start to the first frame
# Nobody listens at a unicast address, a cable is pulled: the video's packets are left behind for the same reasons.
_PASSING = {errno.ECONNREFUSED, errno.ENOBUFS, errno.EAGAIN, errno.EPERM, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN}
_COMPLAINT_INTERVAL_S = 30
_DETOUR_NS = 20_000_000         # packets that wait between two bursts, at most
_STEP_S = 0.2                   # a stop is noticed at least this often, however slow the frame rate

log = logging.getLogger("appliance.source")


class Sender:
    """Sends the flows of one plan. Use as: write_sdp(), then run() until stop()."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.frames_sent = self.frames_left_out = 0
        self._scene = Scene(plan.format, plan.stamped) if plan.picture == "endoscope" else Bars(plan.format)
        self._socket = network.connected_socket(plan.source_address, plan.group, plan.port, plan.ttl)
        network.check_size(self._socket, plan.maxudp)
        self._second_socket = plan.second and network.connected_socket(plan.second.source_address, plan.second.group, plan.second.port, plan.ttl)
        self._detours = self._make_detours()
        direct = -1 if plan.impairment.losses[0] else self._socket.fileno()
        self._part_ns = int(_SECOND_NS / plan.format.rate / len(parts(plan.format)))
        ssrc, self._sequence = secrets.randbits(32), secrets.randbits(32)
        self._parts = [native.Pacing(self._scene.native, plan.format, direct, int(_ACTIVE_PART * self._part_ns), VIDEO_PAYLOAD_TYPE, ssrc, 0,
                                     plan.segmented, second, plan.maxudp, self._detours) for second in parts(plan.format)]
        self._metadata: metadata.MetadataFlow | None = None
        if plan.metadata_group is not None:
            self._metadata = metadata.MetadataFlow(plan)
            self._metadata_ways = [network.connected_socket(plan.source_address, plan.metadata_group, plan.metadata_port, plan.ttl)]
            if plan.second:
                second = metadata.second_leg(plan)
                self._metadata_ways.append(network.connected_socket(second.source_address, second.group, second.port, plan.ttl))
            if plan.metadata_websocket is not None:
                from appliance.source.websocket import MetadataServer  # a third of a second that nobody else need wait

                self._metadata_ways.append(MetadataServer(plan.source_address, plan.metadata_websocket))
        self._companions: list[tuple[companions.Companion, socket.socket]] = []
        if self._metadata is not None and plan.sound is not None:
            self._companions = [(one, network.connected_socket(plan.source_address, one.flow.group, one.flow.port, plan.ttl))
                                for one in companions.companions(plan, self._metadata)]
        self._sound: sound.SoundSender | None = None
        if plan.sound is not None:
            self._sound_socket = network.connected_socket(plan.source_address, plan.sound.group, plan.sound.port, plan.ttl)
            self._sound = sound.SoundSender(plan.sound, self.sound_flow(), self._sound_socket.fileno(), self._first_of)
        self._complained = 0
        self._stopping = False

    def video_flow(self) -> sdp.VideoFlow:
        """The video flow as a receiver's SDP describes it."""
        plan = self.plan
        return sdp.VideoFlow(format=plan.format, group=plan.group, port=plan.port, source_address=plan.source_address,
                             payload_type=VIDEO_PAYLOAD_TYPE, sender_type=timing.WIDE, title=f"{plan.name}, synthetic {plan.picture}", maxudp=plan.maxudp,
                             second=plan.second and sdp.Leg(group=plan.second.group, port=plan.second.port, source_address=plan.second.source_address,
                                                            payload_type=VIDEO_PAYLOAD_TYPE))

    def _make_detours(self) -> tuple[native.Detour, ...]:
        """Ways for packets that go a second time, or are lost on purpose."""
        plan, ways = self.plan, []
        if plan.impairment.losses[0]:
            ways.append((self._socket, plan.impairment.losses[0], 0))
        if plan.second:
            ways.append((self._second_socket, plan.impairment.losses[1], int(plan.second.skew_ms * 1_000_000)))
        # At least half full: a packet that ends a row may carry little, but neighbours make up for it.
        packets_a_second = plan.format.frame_bytes * plan.format.picture_rate / (plan.maxudp // 2)
        return tuple(native.Detour(way.fileno(), loss, late_ns, plan.impairment.seed + number,
                                   int(packets_a_second * (late_ns + _DETOUR_NS) / _SECOND_NS) + 64, plan.maxudp)
                     for number, (way, loss, late_ns) in enumerate(ways))

    def sound_flow(self) -> sdp.AudioFlow:
        """The sound's flow as a receiver's SDP describes it."""
        return sound.flow(self.plan.sound, self.plan.source_address, self.plan.name)

    def _first_of(self, instant_ns: int) -> int:
        """The TAI instant of the first frame at or after another instant."""
        rate = self.plan.format.picture_rate
        return frame_instant_ns(-(-instant_ns * rate.numerator // (_SECOND_NS * rate.denominator)), rate)

    def describe(self) -> str:
        """One line: what goes where."""
        plan, packets = self.plan, sum(part.packet_count for part in self._parts)
        text = (f"{plan.name}: {plan.format} to {plan.group}:{plan.port} from {plan.source_address}, "
                f"{packets} packets a frame, {round(packets * plan.format.rate)} a second")
        if plan.second:
            text += f", and a second time to {plan.second.group}:{plan.second.port} from {plan.second.source_address}"
        if plan.metadata_group is not None:
            text += f"; metadata to {plan.metadata_group}:{plan.metadata_port}"
            text += "" if plan.metadata_websocket is None else f" and at ws://{plan.source_address}:{plan.metadata_websocket}"
        return text if plan.sound is None else f"{text}; sound, {self.sound_flow()}, to {plan.sound.group}:{plan.sound.port}"

    def write_sdp(self) -> None:
        """Writes the SDP files into the plan's directory, if it names one; each appears whole or not at all."""
        directory = self.plan.sdp_directory
        if directory is None:
            return
        directory.mkdir(parents=True, exist_ok=True)
        files = {self.plan.name: sdp.emit_video(self.video_flow())}
        if self.plan.metadata_group is not None:
            files[f"{self.plan.name}-metadata"] = sdp.emit_metadata(metadata.flow(self.plan))
        if self.plan.sound is not None:
            files[f"{self.plan.name}-sound"] = sdp.emit_audio(self.sound_flow())
        files |= {f"{self.plan.name}-{one.suffix}": sdp.emit_metadata(one.flow) for one, _ in self._companions}
        for name, text in files.items():
            unfinished = directory / f".{name}.sdp.new"
            unfinished.write_bytes(text.encode())
            unfinished.replace(directory / f"{name}.sdp")

    def stop(self) -> None:
        """Ends run() after the frame that is being sent; safe in a signal handler."""
        self._stopping = True

    def run(self) -> None:
        """Sends until stop() or the plan's time is over. Raises OSError when the network is gone for good."""
        rate, by_fields = self.plan.format.picture_rate, self.plan.format.by_fields
        if self._sound is not None:
            self._sound.start()
        first = number = int((clock.tai_ns() + _LEAD_NS) * rate / _SECOND_NS) + 1
        last = first + int(self.plan.seconds * rate) if self.plan.seconds is not None else None
        while not self._stopping and (last is None or number < last):
            due_ns = frame_instant_ns(number, rate)
            if self._left_out(number, due_ns):
                number = int(clock.tai_ns() * rate / _SECOND_NS) + 1
                continue
            timestamp = clock.rtp_timestamp(due_ns)
            seconds, second_field = float((number - first) / rate), by_fields and bool(number % 2)
            flash = self._sound is not None and sound.flashes(due_ns, self._first_of)
            pose = self._scene.begin(seconds, number, second_field, flash)
            grain = self._metadata.packets(due_ns, timestamp, number, pose) if self._metadata else []
            beside = [(one.packets(due_ns), way) for one, way in self._companions] if self._metadata and self._metadata.has_static(number) else []
            if self._wait(due_ns):
                self._send(grain, self._metadata_ways if grain else ())
                for packets, way in beside:
                    self._send(packets, [way])
                self._send_part(second_field, due_ns, timestamp)
                if self.plan.format.segmented:
                    self._scene.begin(seconds, number, second_part=True, flash=flash)
                    self._send_part(True, due_ns + self._part_ns, timestamp)
                self.frames_sent += 1
                number += 1

    def _send_part(self, second: bool, due_ns: int, timestamp: int) -> None:
        """A frame, field or segment; each goes on with the sequence number where the last one ended."""
        part = self._parts[second]
        part.sequence = self._sequence
        part.send(due_ns - clock.tai_correction_ns(), timestamp)
        self._sequence = part.sequence

    @staticmethod
    def _send(packets: list[bytes], ways: Iterable[socket.socket]) -> None:
        """A grain's, before the frame's first packet, so that the picture never waits for its metadata."""
        for packet in packets:
            for way in ways:
                try:
                    way.send(packet)
                except OSError as error:
                    if error.errno not in _PASSING:
                        raise

    def close(self) -> None:
        """Ends the sound and closes the sockets."""
        if self._sound is not None:
            self._sound.stop()
            self._sound_socket.close()
        self._socket.close()
        if self._second_socket:
            self._second_socket.close()
        if self._metadata is not None:
            for way in self._metadata_ways + [way for _, way in self._companions]:
                way.close()

    def _left_out(self, number: int, due_ns: int) -> bool:
        late_ns = clock.tai_ns() - due_ns
        if late_ns <= _SECOND_NS / self.plan.format.picture_rate:
            return False
        self.frames_left_out += 1
        if not self._complained or number - self._complained > _COMPLAINT_INTERVAL_S * self.plan.format.picture_rate:
            self._complained = number
            log.warning("frames left out: %d so far, this one %.1f ms late; this machine is too busy to send %s",
                        self.frames_left_out, late_ns / 1e6, self.plan.format)
        return True

    def _wait(self, due_ns: int) -> bool:
        """Sleeps until an instant; False if the sender is to stop first."""
        step_ns = int(_STEP_S * _SECOND_NS)
        while not self._stopping:
            now_ns = clock.tai_ns()
            if now_ns >= due_ns:
                return True
            native.wait_until(min(due_ns, now_ns + step_ns) - clock.tai_correction_ns())
        return False


def frame_instant_ns(number: int, rate: Fraction) -> int:
    """The first TAI nanosecond of frame `number`, counted from the epoch; its RTP timestamp is floor(number x 90000 / rate)."""
    return -(-number * _SECOND_NS * rate.denominator // rate.numerator)
