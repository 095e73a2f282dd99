"""SCTP of one viewer, on aiortc: metadata messages out and their acknowledgements in, on the spot; the rest is aiortc's.

Made by fanout.session. Bounded both ways: a viewer that does not read misses messages, one that floods is cut off.
"""
import struct
import time
from collections.abc import Coroutine

from aiortc.rtcdatachannel import RTCDataChannel
from aiortc.rtcsctptransport import (
    SCTP_COMMON_HEADER_LENGTH,
    SCTP_DATA_FIRST_FRAG,
    SCTP_DATA_LAST_FRAG,
    SCTP_DATA_UNORDERED,
    USERDATA_MAX_LENGTH,
    WEBRTC_BINARY,
    DataChunk,
    RTCSctpCapabilities,
    RTCSctpTransport,
    tsn_plus_one,
)
from google_crc32c import value as crc32c

from appliance.errors import ApplianceError
from appliance.fanout.hooks.dtls import DtlsTransport
from appliance.fanout.hooks.peer import Peer

# With this much unacknowledged or waiting, further messages pass a viewer by: a second of metadata. The limit is on what is held
# already and not on the message itself: a static part may be larger, and would otherwise never be sent.
BUFFERED_BYTES_MAX = 32 * 1024
# Viewers only open a channel; what they send beyond that is held within these.
REASSEMBLY_BYTES_MAX = 16 * 1024
CHANNELS_MAX = 8
MISORDERED_MAX = 64

# A packet with one chunk: ports, tag, checksum; then type, flags, length and the chunk's own fields (RFC 9260 section 3).
_DATA_PACKET = struct.Struct("!HHII BBH IHHI")
_SACK_PACKET = struct.Struct("!HHI4s BBH IIHH")
_SACK, _SACK_BYTES = 3, 16
_WHOLE_UNORDERED = SCTP_DATA_FIRST_FRAG | SCTP_DATA_LAST_FRAG | SCTP_DATA_UNORDERED


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
        if channel.readyState != "open" or self._flight_size + waiting >= BUFFERED_BYTES_MAX:
            return False
        if self._remote_max_message_size and len(message) > self._remote_max_message_size:
            return False
        try:
            if (len(message) <= USERDATA_MAX_LENGTH and not waiting and self._flight_size < self._cwnd
                    and channel.maxRetransmits == 0 and not channel.ordered and self._forward_tsn_chunk is None):
                self._send_at_once(channel.id, message)
            else:
                _finish(self._send(channel.id, WEBRTC_BINARY, message, max_retransmits=channel.maxRetransmits,
                                   ordered=channel.ordered))
        except ConnectionError:
            return False
        return True

    def _send_at_once(self, stream: int, message: bytes) -> None:
        """What _send and _transmit do for one unordered, never repeated chunk that the congestion window has room for."""
        chunk = DataChunk(_WHOLE_UNORDERED)
        chunk.tsn, chunk.stream_id, chunk.protocol, chunk.user_data = self._local_tsn, stream, WEBRTC_BINARY, message
        chunk._abandoned = chunk._acked = chunk._in_flight = chunk._retransmit = False
        chunk._book_size, chunk._expiry, chunk._max_retransmits, chunk._misses = len(message), None, 0, 0
        chunk._sent_count, chunk._sent_time = 1, time.time()
        self._local_tsn = tsn_plus_one(chunk.tsn)
        self._sent_queue.append(chunk)
        self._flight_size_increase(chunk)
        if self._t3_handle is None:
            self._t3_start()
        size = _DATA_PACKET.size + len(message)
        packet = bytearray(_DATA_PACKET.pack(self._local_port, self._remote_port, self._remote_verification_tag, 0, DataChunk.type, chunk.flags,
                                             size - SCTP_COMMON_HEADER_LENGTH, chunk.tsn, stream, 0, chunk.protocol))
        packet += message
        packet += bytes(-size % 4)
        packet[8:12] = crc32c(bytes(packet)).to_bytes(4, "little")
        self.transport.transmit(bytes(packet))

    def _take_acknowledgement(self, packet: bytes) -> bool:
        """What _receive_sack_chunk does when all is well; False, and nothing done, when it is not."""
        _, _, tag, checksum, _, _, size, cumulative, _, gaps, duplicates = _SACK_PACKET.unpack(packet)
        queue = self._sent_queue
        if (size != _SACK_BYTES or gaps or duplicates or tag != self._local_verification_tag or not queue or _later(queue[0].tsn, cumulative)
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
