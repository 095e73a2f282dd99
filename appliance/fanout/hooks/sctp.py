"""SCTP of one viewer, on aiortc: sets up, closes and receives there; all that is sent on its streams, and what acknowledges it, is C's.

Made by fanout.session. Bounded both ways: a viewer that does not read misses messages, one that floods is cut off.
"""
import asyncio
from collections.abc import Coroutine

from aiortc.rtcdatachannel import RTCDataChannel
from aiortc.rtcsctptransport import WEBRTC_BINARY, Chunk, InitAckChunk, InitChunk, RTCSctpCapabilities, RTCSctpTransport, SackChunk

from appliance.errors import ApplianceError
from appliance.fanout.hooks.dtls import DtlsTransport, now_ns
from appliance.fanout.hooks.peer import Peer
from cext.messages import Recipient, Sender

# With this much unacknowledged or waiting, further messages pass a viewer by: a second of metadata. The limit is on what is held
# already and not on the message itself: a static part may be larger, and would otherwise never be sent.
BUFFERED_BYTES_MAX = 32 * 1024
# Viewers only open channels; what they send on them is held within these.
REASSEMBLY_BYTES_MAX = 16 * 1024
CHANNELS_MAX = 8
MISORDERED_MAX = 64

_SECOND_NS = 1_000_000_000


class Association(RTCSctpTransport):
    """The SCTP association of one viewer, for the data channels that it opened.

    From the first message on, the numbers of what we send are C's: aiortc's own queue and timer of the sending half stay empty.
    """

    def __init__(self, dtls: DtlsTransport, peer: Peer) -> None:
        super().__init__(dtls)
        self._peer = peer
        self._window_bytes = self._advertised_rwnd
        self._viewer_window_bytes = 0
        self._expiry: asyncio.TimerHandle | None = None
        self.sender: Sender | None = None
        self.on("datachannel", peer.channel_opened)

    async def open(self, port: int, message_bytes_max: int) -> None:
        """Starts the association; both sides do (RFC 8841 section 9.3). DTLS must be connected."""
        self.sender = Sender(self._local_tsn, BUFFERED_BYTES_MAX, self.transport.link or self.transport.transmit)
        await self.start(RTCSctpCapabilities(maxMessageSize=message_bytes_max), port)

    def receive(self, packet: bytes) -> None:
        """Takes an SCTP packet. One that breaks aiortc is counted; a viewer that makes us keep too much is cut off."""
        if self.sender.receive(packet, now_ns()):
            self.attend()
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
        if channel.readyState != "open" or self.sender.broken:
            return False
        sent = self.sender.send(message, channel.id, WEBRTC_BINARY, channel.ordered, channel.maxRetransmits, now_ns())
        self.attend()
        return sent

    def recipient(self, channel: RTCDataChannel, identifying_allowed: bool, owner: object) -> Recipient:
        """The viewer's place in a feed of binary messages, on the channel that it opened."""
        return Recipient(self.sender, channel.id, WEBRTC_BINARY, channel.ordered, channel.maxRetransmits, identifying_allowed, owner)

    def attend(self) -> None:
        """Starts the timer for what was sent, if that is not yet done; ends the viewer whose DTLS has broken."""
        if self.sender.broken:
            self._peer.closed_by_viewer()
        elif self.sender.due_ns and not self.sender.watched:
            self.sender.watched = True
            self._expiry = self._loop.call_at(self.sender.due_ns / _SECOND_NS, self._expire, self.sender.due_ns)

    def _expire(self, set_for_ns: int) -> None:
        """The timer is not set back for every acknowledgement: what is due is C's to say. Loops round, and fire a little early."""
        self.sender.watched = False
        self.sender.expire(max(now_ns(), set_for_ns))
        self.attend()

    # What aiortc asks for.

    async def _send(self, stream_id: int, pp_id: int, user_data: bytes, expiry: float | None = None, max_retransmits: int | None = None,
                    ordered: bool = True) -> None:
        """Sends what aiortc itself has to say on a stream: replies to a channel's opening."""
        if not self.sender.send(user_data, stream_id, pp_id, ordered, max_retransmits, now_ns()) and max_retransmits is None:
            self._peer.malformed("sctp")  # a viewer that opens channels and acknowledges nothing
            self._peer.closed_by_viewer()
        self.attend()

    async def _receive_chunk(self, chunk: Chunk) -> None:
        if isinstance(chunk, InitChunk | InitAckChunk):
            self._viewer_window_bytes = chunk.advertised_rwnd
        await super()._receive_chunk(chunk)

    async def _receive_sack_chunk(self, chunk: SackChunk) -> None:
        """An acknowledgement in company of other chunks."""
        if not self.sender.acknowledge(chunk.cumulative_tsn, chunk.advertised_rwnd, chunk.gaps, now_ns()):
            self._peer.malformed("sctp")
        self.attend()
        await self._data_channel_flush()

    async def _transmit_reconfig(self) -> None:
        self._local_tsn = self.sender.next_tsn  # the request names the last number that we used (RFC 6525 section 4.1)
        await super()._transmit_reconfig()

    def _data_channel_closed(self, stream_id: int) -> None:
        self.sender.reset_stream(stream_id)
        super()._data_channel_closed(stream_id)

    def _set_state(self, state: RTCSctpTransport.State) -> None:
        if self.sender is not None and state == self.State.ESTABLISHED:
            self.sender.open(self._local_port, self._remote_port, self._local_verification_tag, self._remote_verification_tag, self._viewer_window_bytes,
                             self._remote_max_message_size)
        elif self.sender is not None and state == self.State.CLOSED:
            self.sender.close()
            if self._expiry is not None:
                self._expiry.cancel()
        super()._set_state(state)


def _finish(coroutine: Coroutine[None, None, None]) -> None:
    """Runs a coroutine of aiortc that only looks as if it waited: everything under it sends at once."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise ApplianceError("aiortc waited where it did not before; check its version")
