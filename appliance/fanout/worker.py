"""What a fan-out worker serves: its renditions, its record feeds and its viewers' sessions. Made by fanout.stage, asked by fanout.control.

Decides who gets what, on the event loop; no media packet passes through it.
"""
import asyncio
import os
import secrets
import time
from datetime import UTC, datetime, timedelta

from appliance import frame
from appliance.config import STREAMS_MAX
from appliance.fanout import answer, hooks
from appliance.fanout.offer import OfferRefused, parse_fragment, parse_offer
from appliance.fanout.one_port import OnePort, PortCounts
from appliance.fanout.ports import MediaAddresses, OwnPorts
from appliance.fanout.records import RecordFeed
from appliance.fanout.rendition import Rendition, new_ssrc
from appliance.fanout.rounds import Rounds
from appliance.fanout.session import UNAVAILABLE, Session, Surroundings
from appliance.fanout.sound import Sound
from appliance.frame import LEVELS, RENDITIONS, Audience, Level
from appliance.protocol.h264 import Profile, level_idc
from appliance.runtime.metrics import FANOUT_MALFORMED, FANOUT_PORT_LOST, LATENCY, SKEW_BUCKETS_S
from appliance.runtime.stage import Stage
from cext.fanout import Fanout

NOT_FOUND, CONFLICT = 404, 409
SESSION_NAME_CHARACTERS_MAX = 128
# A certificate lives 30 days; sessions that begin later than this get a new one.
CERTIFICATE_LIFE_LEFT = timedelta(days=15)
STOP_LIMIT_S = 0.8
# A join takes about 12 ms of a core, gateway and workers together (the benchmark's row "joins"), so the last of these is connected within a
# second. Whoever comes on top of them is served sooner by trying again than by standing in this queue, and those who watch keep the event loop.
JOINS_UNDER_WAY_MAX = 64
FULL, BUSY = "all places are taken; try again later", "many are joining just now; try again in a moment"
COMPLAINTS_MAX = 100


class Worker:
    """Everything that a fan-out worker serves."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.viewers_max = stage.config.server.viewers_max
        # A viewer that hears has two places.
        self.fanout = Fanout(STREAMS_MAX * (len(RENDITIONS) + 1), 2 * self.viewers_max,
                             latency_bounds_ns=[round(bound * 1e9) for bound in LATENCY.buckets_s],
                             skew_bounds_ns=[round(bound * 1e9) for bound in SKEW_BUCKETS_S])
        self.renditions: dict[tuple[str, str], Rendition] = {}  # by stream and name
        self.feeds: dict[tuple[str, Audience], RecordFeed] = {}
        self.sounds: dict[str, Sound] = {}
        self._sessions: dict[str, tuple[Session, asyncio.Task]] = {}
        self._stream_of: dict[str, str] = {}  # of each session
        self._leaving: set[asyncio.Task] = set()
        self._opening: set[str] = set()
        self._malformed = {kind: stage.counters.counter("appliance_fanout_datagrams_malformed_total", reason=kind) for kind in FANOUT_MALFORMED}
        self._certificate = hooks.Certificate.make()
        self._shared = Surroundings(self.fanout, self._current_certificate, _ports(stage), secrets.token_hex(8),
                                    {level: stage.config.encoder.bitrate_kbps_of(level) * 1000 for level in LEVELS}, self.malformed, Rounds())
        self._logged: set[str] = set()
        self.follow()

    def follow(self) -> None:
        """Takes the streams as the stage has them now: new ones, other rings of one that changed, and the end of those that are gone."""
        streams = self._stage.flows.keys()
        for stream in streams:
            self._read(stream)
        gone = {stream for stream, _ in self.renditions} - streams
        for stream in gone:
            served = [self.renditions.pop(key) for key in list(self.renditions) if key[0] == stream]
            served += [self.sounds.pop(stream)] if stream in self.sounds else []
            for one in served:
                one.read(None)
            for key in [key for key in self.feeds if key[0] == stream]:
                self.feeds.pop(key).read(None)
            task = asyncio.get_running_loop().create_task(self._take_leave(stream, served))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        for name, (session, _) in self._sessions.items():
            if self._stream_of[name] in streams and not self._hears(self._stream_of[name], session.audience):
                session.hush()

    def _hears(self, stream: str, audience: Audience) -> bool:
        return self._stage.config.stream(stream).is_heard_by(audience)

    def _read(self, stream: str) -> None:
        """Every rendition of a stream, each from its own place at its coding's ring, the levels of one with one SSRC; and every feed."""
        stage, ssrcs = self._stage, {}
        for one in RENDITIONS:
            reader = stage.places[f"units.{stream}.{one.coding.name}.{_number(stage)}"][one.coding.serves.index(one)]
            if (stream, one.name) in self.renditions:
                self.renditions[stream, one.name].read(reader)
                continue
            ssrc = ssrcs.setdefault((one.audience, one.codec), new_ssrc())
            self.renditions[stream, one.name] = Rendition(self.fanout, reader, stream, one.name, one.codec.value.encode(), stage.counters, ssrc)
        opus = stage.readers.get(f"opus.{stream}.{_number(stage)}")
        if stream in self.sounds:
            self.sounds[stream].read(opus)
        elif opus is not None:
            taken = {rendition.ssrc for (owner, _), rendition in self.renditions.items() if owner == stream}
            # A viewer's picture and sound have the same keys, so that their SSRCs must differ (RFC 3711 section 9.1).
            ssrc = next(ssrc for ssrc in iter(new_ssrc, None) if ssrc not in taken)
            self.sounds[stream] = Sound(self.fanout, opus, stream, stage.counters, ssrc)
        for audience in Audience:
            records = stage.readers.get(f"records.{stream}.{audience.value}.{_number(stage)}")
            if (stream, audience) in self.feeds:
                self.feeds[stream, audience].read(records)
            else:
                self.feeds[stream, audience] = RecordFeed(records, audience, self.viewers_max)

    async def _take_leave(self, stream: str, served: list[Rendition | Sound]) -> None:
        """Ends the sessions of a stream that is gone, then lets go of its renditions and sound. A stream of that name that comes meanwhile has its own."""
        tasks = [self._sessions[name][1] for name, owner in self._stream_of.items() if owner == stream and name in self._sessions]
        for name in [name for name, owner in self._stream_of.items() if owner == stream]:
            self._sessions[name][0].end()
        if tasks:
            await asyncio.wait(tasks)
        for one in served:
            one.close()

    @property
    def viewers(self) -> int:
        """Sessions that there are, or are just being opened."""
        return len(self._sessions) + len(self._opening)

    async def create(self, stream: str, audience: Audience, expires_s: int, sdp: str, name: str) -> str:
        """Answers an offer with the answer's SDP; the session ends at `expires_s` (seconds since 1970). OfferRefused says what was wrong."""
        if all(stream != known for known, _ in self.renditions):
            raise OfferRefused(NOT_FOUND, f"there is no stream {stream[:64]!r}")
        if not 0 < len(name) <= SESSION_NAME_CHARACTERS_MAX or name in self._sessions or name in self._opening:
            raise OfferRefused(CONFLICT, "the session's name is taken or no name")
        if self.viewers >= self.viewers_max:
            raise OfferRefused(UNAVAILABLE, FULL)
        if len(self._opening) + sum(session.joining for session, _ in self._sessions.values()) >= JOINS_UNDER_WAY_MAX:
            raise OfferRefused(UNAVAILABLE, BUSY)
        offer = parse_offer(sdp)
        available = {rendition for known, rendition in self.renditions if known == stream}
        choice = answer.choose(offer, audience, Profile(self._stage.config.encoder.h264_profile), available)
        levels = {one.level: self.renditions[stream, one.name] for one in frame.Rendition.named(choice.rendition).levels if one.name in available}
        sound = self.sounds.get(stream) if self._hears(stream, audience) else None
        session = Session(self._shared, offer, choice, levels, self.feeds.get((stream, audience)), self._stage.clock_of(stream, audience), sound)
        self._opening.add(name)
        try:
            text = await session.open(self._video(stream, levels[Level.FULL], sound))
        finally:
            self._opening.discard(name)
        task = asyncio.create_task(session.run(), name=f"session {name}")
        self._sessions[name], self._stream_of[name] = (session, task), stream
        if levels[Level.FULL] is not self.renditions.get((stream, levels[Level.FULL].name)):
            session.end()  # the stream ended while the answer was made
        # Whoever may look no longer is shown no more: the viewer asks for another session, and its token gives none.
        expiry = asyncio.get_running_loop().call_later(max(0.0, expires_s - time.time()), session.end)
        task.add_done_callback(lambda ended: self._ended(name, ended, expiry))
        return text

    async def trickle(self, name: str, text: str) -> None:
        """Gives a session candidates that came late."""
        await self._find(name)[0].trickle(parse_fragment(text))

    async def delete(self, name: str) -> None:
        """Ends a session and waits until it is gone."""
        session, task = self._find(name)
        session.end()
        await asyncio.wait([task])

    async def close(self) -> None:
        """Ends every session within a time limit; tells the viewers."""
        sessions = list(self._sessions.values())
        for session, _ in sessions:
            session.end()
        if sessions:
            await asyncio.wait([task for _, task in sessions], timeout=STOP_LIMIT_S)
        for rendition in self.renditions.values():
            rendition.cancel()
        self._shared.ports.close()

    def count(self) -> None:
        """Brings the counters of every rendition and of the media port up to date."""
        self._shared.ports.count()
        for served in (*self.renditions.values(), *self.sounds.values()):
            served.count()

    def serve_keyframe_wishes(self) -> None:
        """The C side wants keyframes: a viewer fell behind, or an encoder's numbering has a gap."""
        os.eventfd_read(self.fanout.keyframe_fd)
        for rendition in self.renditions.values():
            if self.fanout.take_keyframe_wanted(rendition.identifier):
                rendition.request_keyframe()

    def malformed(self, kind: str) -> None:
        """Counts what came from the network and was not what it should be; says so once for each kind."""
        self._malformed[kind].add()
        if kind not in self._logged:
            self._logged.add(kind)
            self._stage.log.warning("malformed datagrams on a media port (%s); further ones are only counted", kind)

    def complain(self, loop: asyncio.AbstractEventLoop, context: dict) -> None:
        """The loop's exception handler: a viewer must not fill the log."""
        message = f"{context.get('message')}: {context.get('exception')!r}"
        if message not in self._logged and len(self._logged) < COMPLAINTS_MAX:
            self._logged.add(message)
            self._stage.log.error("on the event loop: %s", message, exc_info=context.get("exception"))

    def _find(self, name: str) -> tuple[Session, asyncio.Task]:
        if name not in self._sessions:
            raise OfferRefused(NOT_FOUND, "there is no such session")
        return self._sessions[name]

    def _ended(self, name: str, task: asyncio.Task, expiry: asyncio.TimerHandle) -> None:
        expiry.cancel()
        del self._sessions[name], self._stream_of[name]
        if not task.cancelled() and task.exception() is not None:
            self._stage.log.error("session %s ended by an error", name, exc_info=task.exception())

    def _video(self, stream: str, rendition: Rendition, sound: Sound | None) -> answer.LocalVideo:
        format = self._stage.flows[stream].video.format
        shown = self._stage.config.encoder.planar_of(format)
        return answer.LocalVideo(stream, rendition.ssrc, self._shared.cname, level_idc(shown.width, shown.height, format.picture_rate), secrets.randbits(62),
                                 sound.ssrc if sound else 0)

    def _current_certificate(self) -> hooks.Certificate:
        if self._certificate.expires - datetime.now(UTC) < CERTIFICATE_LIFE_LEFT:
            self._certificate = hooks.Certificate.make()
        return self._certificate


def _number(stage: Stage) -> str:
    return stage.name.split(".")[1]


def _ports(stage: Stage) -> OwnPorts | OnePort:
    """Where viewers' sockets are bound, as the configuration says."""
    server, count = stage.config.server, stage.counters.counter
    addresses = MediaAddresses(server.media_addresses)
    if server.media_ports is None or server.media_ports.count > 1:
        return OwnPorts(addresses, server.media_ports)
    lost = {reason: count("appliance_fanout_port_lost_total", reason=reason) for reason in FANOUT_PORT_LOST}
    counts = PortCounts(count("appliance_fanout_datagrams_malformed_total", reason="stranger"), count("appliance_fanout_port_handed_on_total"),
                        lost["handover"], lost["overflow"], lost["send"])
    peers = {int(name.removeprefix("handover.")): path for name, path in stage.peers.items() if name.startswith("handover.")}
    return OnePort(int(_number(stage)), server.media_ports.first, addresses, stage.sockets["handover"], peers, counts)
