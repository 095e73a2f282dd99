"""Every place where the fan-out reaches into aiortc, aioice and pyOpenSSL: ICE, DTLS and SCTP of one viewer by subclassing, nothing patched.

Called by fanout.session; verify() is called once at start. Receiving and sending never wait: no task and no queue for each datagram.
"""
import asyncio
import importlib.metadata
import inspect
import struct
import time
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Protocol

import pylibsrtp
from aioice.candidate import Candidate, candidate_foundation, candidate_priority
from aioice.ice import CandidatePair, Connection, StunProtocol, get_host_addresses
from aioice.stun import Message
from aiortc import rtcdtlstransport, rtcsctptransport
from aiortc.rtcdatachannel import RTCDataChannel
from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport
from aiortc.rtcsctptransport import DataChunk, RTCSctpCapabilities, RTCSctpTransport
from google_crc32c import value as crc32c
from OpenSSL import SSL

from appliance.errors import ApplianceError
from appliance.fanout.offer import RemoteCandidate

VERSIONS = {"aiortc": "1.16.0", "aioice": "0.13.0", "pyopenssl": "26.4.0", "pylibsrtp": "1.0.0"}
COMPONENT = 1  # RTP and RTCP share it (rtcp-mux)

# A viewer moves between networks now and then; whoever shows more addresses than this is not one.
ADDRESSES_MAX = 16
# Datagrams that may wait while the DTLS handshake is busy: a flight is four at most.
INBOX_DATAGRAMS_MAX = 32
SOCKET_RECEIVE_BYTES = 64 * 1024
DATAGRAM_BYTES_MAX = 2048
# What a viewer may keep unacknowledged or waiting before further messages pass it by: a second of metadata.
BUFFERED_BYTES_MAX = 32 * 1024
# Viewers only open a channel; what they send beyond that is held within these.
REASSEMBLY_BYTES_MAX = 16 * 1024
CHANNELS_MAX = 8
MISORDERED_MAX = 64

# The first that the viewer has too is taken. Measured: AES-GCM is 2.4 times cheaper a packet than AES-CM with HMAC-SHA1.
SRTP_PROFILES = (rtcdtlstransport.SRTP_AEAD_AES_128_GCM, rtcdtlstransport.SRTP_AES128_CM_SHA1_80)
_PROFILE_NUMBERS = {b"SRTP_AEAD_AES_128_GCM": 0x0007, b"SRTP_AES128_CM_SHA1_80": 0x0001}  # RFC 7714 section 14.2, RFC 5764 section 4.1.2
_SERVER = 1

# A DTLS 1.2 record (RFC 6347 section 4.1): type, version, epoch, sequence number, length.
_RECORD_HEADER_BYTES, _APPLICATION_DATA = 13, 23
# An SCTP packet with one chunk: ports, tag, checksum; then type, flags, length and the chunk's own fields (RFC 9260 section 3).
_DATA_PACKET = struct.Struct("!HHII BBH IHHI")
_SACK_PACKET = struct.Struct("!HHI4s BBH IIHH")
_SACK = 3
_WHOLE_UNORDERED = rtcsctptransport.SCTP_DATA_FIRST_FRAG | rtcsctptransport.SCTP_DATA_LAST_FRAG | rtcsctptransport.SCTP_DATA_UNORDERED


class Peer(Protocol):
    """What a viewer's transports report. None of these may wait or raise."""

    def path_selected(self) -> None: ...
    def path_lost(self) -> None: ...
    def malformed(self, kind: str) -> None: ...
    def feedback(self, compound: bytes) -> None: ...
    def channel_opened(self, channel: RTCDataChannel) -> None: ...
    def closed_by_viewer(self) -> None: ...


@dataclass(frozen=True)
class MediaKeys:
    """What SRTP towards the viewer needs (RFC 5764 section 4.2)."""

    profile: int
    key: bytes
    salt: bytes


class Certificate(RTCCertificate):
    """One DTLS certificate and TLS context for all viewers of a worker: making a context costs half a millisecond a join."""

    _shared: SSL.Context | None = None

    @classmethod
    def make(cls) -> "Certificate":
        """A new certificate, valid for 30 days."""
        certificate = cls.generateCertificate()
        certificate._create_ssl_context(SRTP_PROFILES)
        return certificate

    def _create_ssl_context(self, srtp_profiles: Iterable[rtcdtlstransport.SRTPProtectionProfile]) -> SSL.Context:
        if self._shared is None:
            self._shared = super()._create_ssl_context(list(srtp_profiles))
        return self._shared

    @property
    def fingerprint(self) -> str:
        """As the SDP writes it."""
        return f"sha-256 {rtcdtlstransport.certificate_digest(self._cert, 'sha-256')}"


class MediaSocket(StunProtocol):
    """A viewer's UDP socket on one of our addresses. Sorts datagrams by their first octet (RFC 7983) before anything parses them."""

    def datagram_received(self, data: bytes, addr: tuple) -> None:
        self.receiver.sort(self, data, (addr[0], addr[1]))

    def take_stun(self, data: bytes, address: tuple[str, int]) -> None:
        """Hands a datagram to the STUN parser."""
        super().datagram_received(data, address)


class IceAgent(Connection):
    """The ICE agent of one viewer: controlled, host candidates only, and quick to see that the viewer has nominated a pair.

    Also the `transport` of RTCDtlsTransport, which asks of one no more than _recv, _send and role.
    """

    role = "controlled"

    def __init__(self, addresses: tuple[str, ...], peer: Peer) -> None:
        super().__init__(ice_controlling=False)
        self._addresses, self._peer = addresses, peer
        self._known: set[tuple[str, int]] = set()
        self._inbox: asyncio.Queue[bytes | None] = asyncio.Queue(INBOX_DATAGRAMS_MAX + 1)
        self._selected: CandidatePair | None = None
        self.on_datagram = self._keep

    async def get_component_candidates(self, component: int, addresses: list[str], timeout: int = 5) -> list[Candidate]:
        """Opens a socket on each address. aioice calls this while it gathers."""
        loop, found = asyncio.get_running_loop(), []
        for address in self._addresses or (*addresses, "127.0.0.1"):
            try:
                transport, protocol = await loop.create_datagram_endpoint(lambda: MediaSocket(self), local_addr=(address, 0))
            except OSError:
                continue  # an address that is gone for the moment; the others serve
            host, port = transport.get_extra_info("sockname")[:2]
            protocol.local_candidate = Candidate(candidate_foundation("host", "udp", host), component, "udp",
                                                 candidate_priority(component, "host"), host, port, "host")
            self._protocols.append(protocol)
            found.append(protocol.local_candidate)
        return found

    async def offer_candidate(self, candidate: RemoteCandidate) -> None:
        """Adds an address that the viewer says it has."""
        await self.add_remote_candidate(Candidate(candidate.foundation, COMPONENT, "udp", candidate.priority, candidate.host, candidate.port,
                                                  candidate.kind))

    def sort(self, socket: MediaSocket, data: bytes, address: tuple[str, int]) -> None:
        """A datagram came: STUN from anybody, DTLS and SRTCP only from where a check with our password came from."""
        first = data[0] if data else 0xFF
        if first < 4:
            try:
                socket.take_stun(data, address)
            except Exception:  # aioice lets struct.error, KeyError and others out on attributes that lie; the port is open to all
                self._peer.malformed("stun")
        elif address in self._known and (20 <= first < 64 or 128 <= first < 192):
            self.on_datagram(data)
        else:
            self._peer.malformed("stranger")

    def data_received(self, data: bytes, component: int) -> None:
        """aioice calls this with what looked like STUN and was not."""
        self._peer.malformed("stun")

    def check_incoming(self, message: Message, addr: tuple[str, int], protocol: StunProtocol) -> None:
        """aioice calls this with a check whose credentials were right."""
        if addr not in self._known:
            if len(self._known) == ADDRESSES_MAX:
                return
            self._known.add(addr)
        super().check_incoming(message, addr, protocol)

    def check_complete(self, pair: CandidatePair) -> None:
        """aioice calls this when a pair succeeded, failed or was nominated: the moment to see which pair carries data now."""
        super().check_complete(pair)
        nominated = self._nominated.get(COMPONENT)
        if nominated is not None and nominated is not self._selected:
            self._selected = nominated
            self._peer.path_selected()

    async def close(self) -> None:
        """Closes the sockets; aioice itself calls this when the viewer's consent (RFC 7675) has expired."""
        await super().close()
        self.end()
        self._peer.path_lost()

    @property
    def path(self) -> tuple[int, tuple[str, int]]:
        """Descriptor of the socket and address of the viewer on the selected pair."""
        assert self._selected is not None
        return self._selected.protocol.transport.get_extra_info("socket").fileno(), self._selected.remote_addr

    def transmit(self, data: bytes) -> None:
        """Sends a datagram on the selected pair; ConnectionError without one."""
        if self._selected is None or self._closing:
            raise ConnectionError("no path to the viewer")
        self._selected.protocol.transport.sendto(data, self._selected.remote_addr)

    def end(self) -> None:
        """Wakes whoever waits for a datagram, with the news that none will come."""
        if not self._inbox.full():
            self._inbox.put_nowait(None)

    def waiting(self) -> list[bytes]:
        """Takes the datagrams that nobody has read yet."""
        return [data for data in (self._inbox.get_nowait() for _ in range(self._inbox.qsize())) if data]

    def _keep(self, data: bytes) -> None:
        if self._inbox.qsize() < INBOX_DATAGRAMS_MAX:
            self._inbox.put_nowait(data)

    async def _recv(self) -> bytes:
        data = await self._inbox.get()
        if data is None:
            raise ConnectionError("the path to the viewer is closed")
        return data

    async def _send(self, data: bytes) -> None:
        self.transmit(data)


class DtlsTransport(RTCDtlsTransport):
    """The DTLS server of one viewer. aiortc drives the handshake; from then on datagrams are taken as they come."""

    def __init__(self, ice: IceAgent, certificate: Certificate, peer: Peer) -> None:
        super().__init__(ice, [certificate])
        self._peer = peer
        self._srtp_profiles = list(SRTP_PROFILES)
        self._set_role("server")

    async def handshake(self, fingerprints: Iterable[tuple[str, str]]) -> None:
        """Waits for the viewer's hello and finishes the handshake; ConnectionError if it fails or the certificate is another's."""
        await self.start(RTCDtlsParameters([RTCDtlsFingerprint(name, digest) for name, digest in fingerprints]))
        if self.state != "connected":
            raise ConnectionError("the DTLS handshake failed")

    def flow(self) -> None:
        """From now on datagrams come straight from the socket. Call when the receiver of data is there."""
        self.transport.on_datagram = self.receive
        for data in self.transport.waiting():
            self.receive(data)

    def media_keys(self) -> MediaKeys:
        """Keys of what we send: the server's write key and salt."""
        name = self._ssl.get_selected_srtp_profile()
        profile = next(profile for profile in SRTP_PROFILES if profile.openssl_profile == name)
        material = self._ssl.export_keying_material(b"EXTRACTOR-dtls_srtp", 2 * (profile.key_length + profile.salt_length))
        both = profile.get_key_and_salt(material, _SERVER)
        return MediaKeys(_PROFILE_NUMBERS[name], both[:profile.key_length], both[profile.key_length:])

    def receive(self, datagram: bytes) -> None:
        """Takes a datagram of DTLS or SRTCP."""
        if datagram[0] < 64:
            self._receive_dtls(datagram)
            return
        try:
            compound = self._rx_srtp.unprotect_rtcp(datagram)
        except pylibsrtp.Error:
            self._peer.malformed("srtcp")  # RTP too: a viewer has none to send
            return
        self._peer.feedback(compound)

    def _receive_dtls(self, datagram: bytes) -> None:
        # The usual datagram is one record of data: then there is nothing more to read and nothing to answer. Asking costs 7 us.
        plain = datagram[0] == _APPLICATION_DATA and int.from_bytes(datagram[11:_RECORD_HEADER_BYTES], "big") + _RECORD_HEADER_BYTES == len(datagram)
        self._ssl.bio_write(datagram)
        try:
            while True:
                message = self._ssl.recv(DATAGRAM_BYTES_MAX)
                if self._data_receiver is not None:
                    self._data_receiver.receive(message)
                if plain:
                    return
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self._peer.closed_by_viewer()
        except SSL.Error:
            self._peer.malformed("dtls")
        self._flush()

    def transmit(self, message: bytes) -> None:
        """Sends one message, at once; ConnectionError when that cannot be."""
        if self.state != "connected":
            raise ConnectionError("DTLS is not connected")
        self._ssl.send(message)
        self._flush()

    def transmit_rtcp(self, compound: bytes) -> None:
        """Sends RTCP, at once; ConnectionError when that cannot be."""
        self.transport.transmit(self._tx_srtp.protect_rtcp(compound))

    def _flush(self) -> None:
        try:
            self.transport.transmit(self._ssl.bio_read(DATAGRAM_BYTES_MAX))
        except SSL.WantReadError:
            pass  # nothing to send

    async def _send_data(self, data: bytes) -> None:
        self.transmit(data)


class Association(RTCSctpTransport):
    """The SCTP association of one viewer, for the data channel that it opened.

    A message that fits a packet, and the plain acknowledgement of one, are the bulk: both are done here in a few microseconds, on
    aiortc's own state. Everything else (fragments, losses, setting up, closing) is aiortc's.
    """

    def __init__(self, dtls: DtlsTransport, peer: Peer) -> None:
        super().__init__(dtls)
        self._peer = peer
        self._window_bytes = self._advertised_rwnd
        self.on("datachannel", peer.channel_opened)

    async def open(self, port: int, message_bytes_max: int) -> None:
        """Starts the association; both sides do (RFC 8841 section 9.3)."""
        await self.start(RTCSctpCapabilities(maxMessageSize=message_bytes_max), port)

    def receive(self, packet: bytes) -> None:
        """Takes an SCTP packet. One that breaks aiortc is counted; a viewer that makes us keep too much is cut off."""
        if len(packet) == _SACK_PACKET.size and packet[12] == _SACK and self._take_acknowledgement(packet):
            return
        try:
            _finish(self._handle_data(packet))
        except ConnectionError:
            return
        except Exception:  # assertions, struct.error, KeyError: what a viewer can provoke must end here
            self._peer.malformed("sctp")
        held_bytes = self._window_bytes - self._advertised_rwnd
        if held_bytes > REASSEMBLY_BYTES_MAX or len(self._data_channels) > CHANNELS_MAX or len(self._sack_misordered) > MISORDERED_MAX:
            self._peer.malformed("sctp")
            self._peer.closed_by_viewer()

    def send_message(self, channel: RTCDataChannel, message: bytes) -> bool:
        """Sends a binary message at once. False if the viewer has too much unread: then it misses this one."""
        waiting = sum(len(chunk.user_data) for chunk in self._outbound_queue) if self._outbound_queue else 0
        if channel.readyState != "open" or self._flight_size + waiting + len(message) > BUFFERED_BYTES_MAX:
            return False
        if self._remote_max_message_size and len(message) > self._remote_max_message_size:
            return False
        try:
            if (len(message) <= rtcsctptransport.USERDATA_MAX_LENGTH and not waiting and self._flight_size < self._cwnd
                    and channel.maxRetransmits == 0 and not channel.ordered and self._forward_tsn_chunk is None):
                self._send_at_once(channel.id, message)
            else:
                _finish(self._send(channel.id, rtcsctptransport.WEBRTC_BINARY, message, max_retransmits=channel.maxRetransmits,
                                   ordered=channel.ordered))
        except ConnectionError:
            return False
        return True

    def _send_at_once(self, stream: int, message: bytes) -> None:
        """What _send and _transmit do for one unordered, never repeated chunk that the congestion window has room for."""
        chunk = DataChunk(_WHOLE_UNORDERED)
        chunk.tsn, chunk.stream_id, chunk.protocol, chunk.user_data = self._local_tsn, stream, rtcsctptransport.WEBRTC_BINARY, message
        chunk._abandoned = chunk._acked = chunk._in_flight = chunk._retransmit = False
        chunk._book_size, chunk._expiry, chunk._max_retransmits, chunk._misses = len(message), None, 0, 0
        chunk._sent_count, chunk._sent_time = 1, time.time()
        self._local_tsn = rtcsctptransport.tsn_plus_one(chunk.tsn)
        self._sent_queue.append(chunk)
        self._flight_size_increase(chunk)
        if self._t3_handle is None:
            self._t3_start()
        size = _DATA_PACKET.size + len(message)
        packet = bytearray(_DATA_PACKET.pack(self._local_port, self._remote_port, self._remote_verification_tag, 0, DataChunk.type, chunk.flags,
                                             size - rtcsctptransport.SCTP_COMMON_HEADER_LENGTH, chunk.tsn, stream, 0, chunk.protocol))
        packet += message
        packet += bytes(-size % 4)
        packet[8:12] = crc32c(bytes(packet)).to_bytes(4, "little")
        self.transport.transmit(bytes(packet))

    def _take_acknowledgement(self, packet: bytes) -> bool:
        """What _receive_sack_chunk does when all is well; False, and nothing done, when it is not."""
        _, _, tag, checksum, _, _, size, cumulative, _, gaps, duplicates = _SACK_PACKET.unpack(packet)
        queue = self._sent_queue
        if (size != 16 or gaps or duplicates or tag != self._local_verification_tag or not queue or _later(queue[0].tsn, cumulative)
                or _later(cumulative, queue[-1].tsn) or _later(self._advanced_peer_ack_tsn, cumulative) or self._flight_size >= self._cwnd
                or self._outbound_queue or self._data_channel_queue or self._fast_recovery_exit is not None or self._forward_tsn_chunk is not None
                or crc32c(packet[:8] + bytes(4) + packet[12:]) != int.from_bytes(checksum, "little")):
            return False
        if queue[0]._sent_count == 1:
            self._update_rto(time.time() - queue[0]._sent_time)
        while queue and not _later(queue[0].tsn, cumulative):
            self._flight_size_decrease(queue.popleft())
        self._last_sacked_tsn = self._advanced_peer_ack_tsn = cumulative
        return True

    def _t3_expired(self) -> None:
        """The retransmission timer. It is not set back for every acknowledgement, so it looks whether the oldest chunk is due."""
        self._t3_handle = None
        if not self._sent_queue:
            return
        left_s = self._sent_queue[0]._sent_time + self._rto - time.time()
        if left_s > 0:
            self._t3_handle = self._loop.call_later(left_s, self._t3_expired)
        else:
            super()._t3_expired()


def _later(a: int, b: int) -> bool:
    """Whether transmission sequence number a comes after b (RFC 1982)."""
    return a != b and (a - b) & 0x8000_0000 == 0


def _finish(coroutine: Coroutine[None, None, None]) -> None:
    """Runs a coroutine of aiortc that only looks as if it waited: everything under it sends at once."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise ApplianceError("aiortc waited where it did not before; check its version")


class _Nobody:
    """Hears the events of transports that verify() makes and never opens."""

    def channel_opened(self, channel: RTCDataChannel) -> None: ...


_ARGUMENTS = {
    Connection.check_complete: ["self", "pair"], Connection.check_incoming: ["self", "message", "addr", "protocol"],
    Connection.data_received: ["self", "data", "component"], Connection.close: ["self"], Connection.connect: ["self"],
    Connection.get_component_candidates: ["self", "component", "addresses", "timeout"], Connection.gather_candidates: ["self"],
    StunProtocol.datagram_received: ["self", "data", "addr"], get_host_addresses: ["use_ipv4", "use_ipv6"],
    RTCCertificate._create_ssl_context: ["self", "srtp_profiles"], RTCDtlsTransport.start: ["self", "remoteParameters"],
    RTCDtlsTransport._send_data: ["self", "data"], RTCDtlsTransport._set_role: ["self", "role"],
    RTCSctpTransport._handle_data: ["self", "data"], RTCSctpTransport.start: ["self", "remoteCaps", "remotePort"],
    RTCSctpTransport._send: ["self", "stream_id", "pp_id", "user_data", "expiry", "max_retransmits", "ordered"],
    RTCSctpTransport._t3_expired: ["self"], RTCSctpTransport._t3_start: ["self"], RTCSctpTransport._update_rto: ["self", "R"],
    RTCSctpTransport._flight_size_increase: ["self", "chunk"], RTCSctpTransport._flight_size_decrease: ["self", "chunk"],
    SSL.Connection.export_keying_material: ["self", "label", "olen", "context"], SSL.Connection.bio_read: ["self", "bufsiz"],
}
_STATE = {
    IceAgent: ("_nominated", "_protocols", "_closing", "remote_username", "remote_password"),
    DtlsTransport: ("_srtp_profiles", "_ssl", "_rx_srtp", "_tx_srtp", "_data_receiver"),
    Association: ("_outbound_queue", "_flight_size", "_remote_max_message_size", "_advertised_rwnd", "_data_channels", "_sack_misordered",
                  "_sent_queue", "_cwnd", "_forward_tsn_chunk", "_local_tsn", "_last_sacked_tsn", "_advanced_peer_ack_tsn", "_fast_recovery_exit",
                  "_data_channel_queue", "_t3_handle", "_rto", "_loop", "_local_port", "_remote_port", "_local_verification_tag",
                  "_remote_verification_tag"),
}


def verify() -> None:
    """Checks that the libraries are the ones these hooks were written for; ApplianceError names the first that is not. Needs a running loop."""
    for name, pinned in VERSIONS.items():
        installed = importlib.metadata.version(name)
        if installed != pinned:
            raise ApplianceError(f"the fan-out needs {name} {pinned}, found {installed}; install what pyproject.toml pins")
    for function, expected in _ARGUMENTS.items():
        found = list(inspect.signature(function).parameters)
        if found != expected:
            raise ApplianceError(f"{function.__qualname__} takes {found}, the fan-out's hook expects {expected} ({VERSIONS})")

    ice = IceAgent((), _Nobody())
    dtls = DtlsTransport(ice, Certificate.make(), _Nobody())
    for part in (ice, dtls, Association(dtls, _Nobody())):
        missing = [name for name in _STATE[type(part)] if not hasattr(part, name)]
        if missing:
            raise ApplianceError(f"{type(part).__mro__[1].__name__} has no {', '.join(missing)}, which the fan-out's hook reads ({VERSIONS})")
