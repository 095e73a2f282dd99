"""One viewer from its offer to its end: transports, its place in the C fan-out, reports and feedback. Made by fanout.worker.

Everything happens on the event loop; `ended` is the only way out, and then nothing of the viewer is left.
"""
import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiortc.rtcdatachannel import RTCDataChannel

from appliance import clock
from appliance.errors import ProtocolError
from appliance.fanout import answer, hooks
from appliance.fanout.offer import CANDIDATES_MAX, UNPROCESSABLE, Fragment, Offer, OfferRefused
from appliance.fanout.one_port import OnePort
from appliance.fanout.place import Place
from appliance.fanout.ports import OwnPorts
from appliance.fanout.records import RecordFeed
from appliance.fanout.rendition import JOIN_INTERVAL_S, Rendition
from appliance.fanout.rounds import Rounds
from appliance.fanout.seen import Witness, reply
from appliance.fanout.sound import Listener, Sound
from appliance.fanout.viewer_report import ViewerReport
from appliance.frame import Audience, Level
from appliance.protocol import rtcp
from cext.fanout import Fanout, ViewerStats
from cext.messages import Recipient

# From the answer to the end of the DTLS handshake. A person at a browser needs none of it; a dead one must not stay.
CONNECT_LIMIT_S = 10.0
CLOSE_LIMIT_S = 0.5
# Sender reports: one a second while a browser learns how RTP times and the clock go together (it needs two to set sound beside the picture), then
# one in so many turns. What is measured by them, it measures just as well by an old one. RFC 3550 section 6.2 asks for 5 s or so.
REPORTS_AT_FIRST, TURNS_A_REPORT = 5, 4
METADATA_LABEL = "metadata"
REPORT_LABEL = "report"
UNAVAILABLE = 503

# In 10 ms units (minimum, maximum). Experts act on what they see: each picture is shown as soon as it is there. Classes sit on
# Wi-Fi: up to 150 ms smooth what the radio delays. Their minimum must not be 0: libwebrtc takes a minimum of 0 with a maximum of
# up to 500 ms for a wish to show every picture at once, and smooths nothing.
PLAYOUT_DELAY = {Audience.EXPERT: (0, 0), Audience.CLASS: (2, 15)}

_VIDEO_RATE_HZ, _SOUND_RATE_HZ = 90_000, 48_000
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class Surroundings:
    """What the sessions of a worker share."""

    fanout: Fanout
    certificate: Callable[[], hooks.Certificate]
    ports: OwnPorts | OnePort
    cname: str
    needs_bps: Mapping[Level, int]
    malformed: Callable[[str], None]
    rounds: Rounds


class Session:
    """A viewer's session. The hooks' events come in as methods without underscore."""

    def __init__(self, surroundings: Surroundings, offer: Offer, choice: answer.Choice, renditions: Mapping[Level, Rendition],
                 feed: RecordFeed | None, audience_clock: clock.AudienceClock, sound: Sound | None = None) -> None:
        """`renditions`: what the viewer may be sent, the levels of one rendition; `audience_clock`: of every time that it is told; `sound`: what
        it may hear."""
        self._shared, self._offer, self._choice, self._feed = surroundings, offer, choice, feed
        self._clock = audience_clock
        self._place = Place(surroundings.fanout, renditions, surroundings.needs_bps)
        tuning = answer.tuning(offer)
        self._listener: Listener | None = sound.listener(tuning) if sound is not None and tuning is not None else None
        self._begun_ns = clock.monotonic_ns()
        self._candidates = {(candidate.host, candidate.port) for candidate in offer.candidates}
        self._path_selected, self._ended = asyncio.Event(), asyncio.Event()
        self._certificate = surroundings.certificate()
        self._ice = hooks.ice_agent(surroundings.ports, self)
        self._dtls = hooks.DtlsTransport(self._ice, self._certificate, self)
        self._association = hooks.Association(self._dtls, self) if offer.application >= 0 else None
        self._recipient: Recipient | None = None
        self._report_channel: RTCDataChannel | None = None
        self._witness = Witness(self._place.present.seen, time.monotonic)
        self._viewer: int | None = None
        self._turns = 0  # with media
        self._reported_lost = 0
        self._reference_times: dict[int, tuple[int, int]] = {}

    @property
    def joining(self) -> bool:
        """Whether its handshake is still under way."""
        return self._viewer is None and not self._ended.is_set()

    async def open(self, video: answer.LocalVideo) -> str:
        """Opens the sockets and returns the answer; run() must follow. OfferRefused(503) if there is no address to offer."""
        await self._ice.gather_candidates()
        candidates = self._ice.local_candidates
        if not candidates:
            await self._ice.close()
            raise OfferRefused(UNAVAILABLE, self._shared.ports.shortage)
        transport = answer.LocalTransport(self._ice.local_username, self._ice.local_password, self._certificate.fingerprint,
                                          tuple(candidate.to_sdp() for candidate in candidates), (candidates[0].host, candidates[0].port))
        return answer.write(self._offer, self._choice, transport, video)

    async def run(self) -> None:
        """The session's life: connects within a time limit, then stays until the viewer or the worker ends it."""
        self._place.admit()
        checks = asyncio.create_task(self._check())
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                await self._path_selected.wait()
                if not self._ended.is_set():
                    await self._dtls.handshake(self._offer.fingerprints)
            if not self._ended.is_set():
                await self._serve()
            await self._ended.wait()
        except (TimeoutError, ConnectionError):
            self._place.present.failures.add(1)
        finally:
            self._place.dismiss()
            self._leave()
            checks.cancel()
            with contextlib.suppress(TimeoutError, asyncio.CancelledError, ConnectionError):
                async with asyncio.timeout(CLOSE_LIMIT_S):
                    await self._close()

    def end(self) -> None:
        """Lets run() end."""
        self._ended.set()
        self._path_selected.set()

    async def trickle(self, fragment: Fragment) -> None:
        """Takes candidates that came after the offer. OfferRefused(422) for an ICE restart, or more than CANDIDATES_MAX with the offer's."""
        if fragment.ufrag and fragment.ufrag != self._offer.ufrag:
            raise OfferRefused(UNPROCESSABLE, "ICE restart is not served; open a new session")
        fresh = [candidate for candidate in fragment.candidates if (candidate.host, candidate.port) not in self._candidates]
        if len(self._candidates) + len(fresh) > CANDIDATES_MAX:
            raise OfferRefused(UNPROCESSABLE, f"a session takes {CANDIDATES_MAX} candidates at most")
        for candidate in fresh:
            self._candidates.add((candidate.host, candidate.port))
            await self._ice.offer_candidate(candidate)

    @property
    def audience(self) -> Audience:
        """The viewer's."""
        return self._place.present.audience

    def hush(self) -> None:
        """The viewer may hear no more."""
        if self._listener is not None:
            self._listener.end()
            self._listener = None

    def attend(self) -> None:
        """A record left something to do: a timer to start, or an end."""
        self._association.attend()

    # What the transports report.

    def path_selected(self) -> None:
        """ICE nominated a pair: the first, or another one when the viewer moved."""
        self._path_selected.set()
        self._dtls.redirect()
        if self._viewer is not None:
            self._shared.fanout.redirect_viewer(self._viewer, *self._ice.media_path)
        if self._listener is not None:
            self._listener.redirect(*self._ice.media_path)

    def path_lost(self) -> None:
        """The viewer's consent expired, or the session closes."""
        self.end()

    def closed_by_viewer(self) -> None:
        """The viewer ended DTLS, or broke it."""
        self.end()

    def malformed(self, kind: str) -> None:
        """Something came that is not what it should be."""
        self._shared.malformed(kind)

    def channel_opened(self, channel: RTCDataChannel) -> None:
        """The viewer opened a data channel; one for metadata and one for its reports have a use."""
        if channel.label == METADATA_LABEL and self._recipient is None:
            # What could tell a class who the patient is never leaves: its feed keeps it, and so does each of its viewers' places.
            self._recipient = self._association.recipient(channel, self._place.present.audience is Audience.EXPERT, self)
            channel.on("close", self._channel_closed)
            if self._feed is not None:
                self._feed.add(self._recipient)
        elif channel.label == REPORT_LABEL and self._report_channel is None:
            self._report_channel = channel
            channel.on("message", self._heard)
        else:
            channel.close()

    def reported(self, report: ViewerReport) -> None:
        """The viewer's page said what it sees; it is counted already. The answer tells it which picture it gets, and our time."""
        if self._viewer is not None:
            self._place.watched(report, time.monotonic())
        assert self._association is not None and self._report_channel is not None
        self._association.send_message(self._report_channel, reply(report.number, self._place.present.level.value, self._unix_ns()))

    def feedback(self, compound: bytes) -> None:
        """Feedback came."""
        try:
            heard = rtcp.parse(compound, self._place.present.ssrc, self._listener.ssrc if self._listener else 0)
        except ProtocolError as error:
            self._shared.malformed(error.reason)
            return
        if self._viewer is None:
            return
        now = rtcp.ntp_time(self._unix_ns())
        for report in heard.reports:
            self._note(report, now)
        for report in heard.sound_reports:
            self._listener.heard(report)
        if heard.lost:
            self._place.present.nacks.add(len(heard.lost))
            self._place.lost(heard.lost, time.monotonic())
        if heard.keyframe:
            self._place.present.picture_losses.add()
            self._place.request_keyframe()
        self._place.heard(heard, now, time.monotonic())
        for viewer_ssrc, middle in heard.reference_times[:1]:
            self._reference_times = {viewer_ssrc: (middle, now)}

    def _unix_ns(self) -> int:
        """Now, on the clock of everything that this viewer is told."""
        return self._clock.at(time.time_ns())

    def _heard(self, text: str | bytes) -> None:
        report = self._witness.hear(text)
        if report is not None:
            self.reported(report)

    # The steps of run().

    async def _check(self) -> None:
        """Connectivity checks towards the viewer's candidates; its own checks open the path just as well."""
        self._ice.remote_username, self._ice.remote_password = self._offer.ufrag, self._offer.password
        for candidate in self._offer.candidates:
            await self._ice.offer_candidate(candidate)
        with contextlib.suppress(ConnectionError):
            await self._ice.connect()

    async def _serve(self) -> None:
        keys, (descriptor, remote) = self._dtls.media_keys(), self._ice.media_path
        fanout, rendition = self._shared.fanout, self._place.present
        self._viewer = fanout.add_viewer(
            rendition.identifier, descriptor, remote, keys.profile, keys.key, keys.salt, self._choice.coding.payload_type,
            playout_delay_id=self._choice.playout_delay_id, playout_delay=PLAYOUT_DELAY[rendition.audience],
            mid_id=self._choice.mid_id, mid=self._choice.mid.encode(), abs_send_time_id=self._choice.abs_send_time_id,
            bits_per_s=max(self._shared.needs_bps.values()), timestamp_shift=self._clock.ticks(_VIDEO_RATE_HZ))
        if self._listener is not None:
            self._listener.begin(descriptor, remote, keys, self._clock.ticks(_SOUND_RATE_HZ))
        self._place.take(self._viewer, time.monotonic(), random.random())
        rendition.joins.add()
        fanout.take_keyframe_wanted(rendition.identifier)  # the wish of this viewer, said in the next line with its own interval
        rendition.request_keyframe(JOIN_INTERVAL_S)
        if self._association is not None:
            await self._association.open(self._offer.sctp_port, self._offer.max_message_bytes)
        self._dtls.flow()
        self._look()
        self._shared.rounds.join(self, self._turn)

    def _turn(self) -> None:
        """Once a second."""
        self._ice.turn(time.monotonic())
        if self._viewer is not None:
            self._look()

    def _look(self) -> None:
        """Sees what was sent, once there is media, and reports of it to the viewer when that is due."""
        self._count_messages()
        stats = self._shared.fanout.viewer_stats(self._viewer)
        if not stats.packets:
            return
        if self._turns == 0:
            self._place.present.join_time.observe_ns(stats.first_send_monotonic_ns - self._begun_ns)
        if self._turns < REPORTS_AT_FIRST or self._turns % TURNS_A_REPORT == 0:
            self._report(stats)
        self._turns += 1
        self._place.tick(stats, time.monotonic())

    def _report(self, stats: ViewerStats) -> None:
        """Sends a sender report of picture and sound, and when the viewer's own clock was heard."""
        now_tai_ns, ntp, ssrc = clock.tai_ns(), rtcp.ntp_time(self._unix_ns()), self._place.present.ssrc
        compound = self._sender_report(ssrc, stats, _VIDEO_RATE_HZ, now_tai_ns, ntp)
        heard = self._listener and self._listener.stats()
        if heard:
            compound += self._sender_report(self._listener.ssrc, heard, _SOUND_RATE_HZ, now_tai_ns, ntp)
        if self._reference_times:
            compound += rtcp.last_reference_times(ssrc, [(viewer, middle, ntp - heard >> 16) for viewer, (middle, heard) in self._reference_times.items()])
            self._reference_times = {}
        with contextlib.suppress(ConnectionError):
            self._dtls.transmit_rtcp(compound)

    def _sender_report(self, ssrc: int, stats: ViewerStats, rate_hz: int, now_tai_ns: int, ntp: int) -> bytes:
        """The RTP time of this very instant on the capture clock (RFC 3550 section 6.4.1), not of the last packet sent: picture and sound have one."""
        elapsed = (now_tai_ns - stats.last_capture_tai_ns) * rate_hz // _SECOND_NS
        rtp_timestamp = stats.last_rtp_timestamp + elapsed + self._clock.ticks(rate_hz) & 0xFFFF_FFFF
        return rtcp.sender_report(ssrc, ntp, rtp_timestamp, stats.packets, stats.octets, self._shared.cname.encode())

    def _note(self, report: rtcp.ReceiverReport, now_ntp: int) -> None:
        round_trip_ns = report.round_trip_ns(now_ntp)
        if round_trip_ns is not None:
            self._place.present.round_trip.observe_ns(round_trip_ns)
        self._place.present.jitter.observe_ns(report.jitter * _SECOND_NS // _VIDEO_RATE_HZ)
        self._place.present.reported_lost.add(max(0, report.packets_lost - self._reported_lost))
        self._reported_lost = max(report.packets_lost, self._reported_lost)

    def _count_messages(self) -> None:
        if self._recipient is not None:
            sent, skipped, refused, lost = self._recipient.take_counts()
            self._place.present.messages.add(sent)
            self._place.present.messages_skipped.add(skipped)
            self._place.present.messages_refused.add(refused)
            self._place.present.messages_lost.add(lost)

    def _channel_closed(self) -> None:
        self._count_messages()
        if self._recipient is not None and self._feed is not None:
            self._feed.discard(self._recipient)
        self._recipient = None

    def _leave(self) -> None:
        """Takes the viewer out of everything that would send to it."""
        self._channel_closed()
        self._shared.rounds.leave(self)
        self.hush()
        if self._viewer is not None:
            self._shared.fanout.remove_viewer(self._viewer)
            self._viewer = None

    async def _close(self) -> None:
        if self._association is not None:
            await self._association.stop()
        await self._dtls.stop()
        await self._ice.close()
