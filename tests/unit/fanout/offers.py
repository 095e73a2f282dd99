"""Offers as players write them, for the tests of offer and answer."""

FINGERPRINT = "sha-256 " + ":".join(["A0"] * 32)
TRANSPORT = ["a=ice-ufrag:GNzz", "a=ice-pwd:zVE0MaDOUKiu0M9EmyIJPLV6", "a=ice-options:trickle", f"a=fingerprint:{FINGERPRINT}", "a=setup:actpass"]
SESSION = ["v=0", "o=- 8785791091204640673 2 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=msid-semantic: WMS"]
DATA = ["m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "c=IN IP4 0.0.0.0", *TRANSPORT, "a=mid:1", "a=sctp-port:5000", "a=max-message-size:262144"]
AUDIO = ["m=audio 9 UDP/TLS/RTP/SAVPF 111 9", "c=IN IP4 0.0.0.0", *TRANSPORT, "a=mid:2", "a=recvonly", "a=rtcp-mux", "a=rtpmap:111 opus/48000/2"]
CANDIDATES = [
    "a=candidate:437862356 1 udp 2113937151 cd1fbdfe-6f80-4879-81fe-5c214095a7c2.local 58953 typ host generation 0 network-cost 999",
    "a=candidate:2 1 UDP 2113942271 192.0.2.7 50918 typ host",
    "a=candidate:2 2 udp 2113942270 192.0.2.7 50919 typ host",
    "a=candidate:3 1 tcp 1518280447 192.0.2.7 9 typ host tcptype active",
    "a=candidate:4 1 udp 1677729535 2001:db8::7 40000 typ srflx raddr 192.0.2.7 rport 50918",
    "a=candidate:5 1 udp 5 192.0.2.8 99999 typ host",
    "a=candidate:6 1 udp",
]
FEEDBACK = ("goog-remb", "transport-cc", "ccm fir", "nack", "nack pli")


def h264(payload_type, profile_level_id="42e01f", mode=1):
    """The lines of an H.264 payload type."""
    return [f"a=rtpmap:{payload_type} H264/90000", *(f"a=rtcp-fb:{payload_type} {name}" for name in FEEDBACK),
            f"a=fmtp:{payload_type} level-asymmetry-allowed=1;packetization-mode={mode};profile-level-id={profile_level_id}"]


def vp8(payload_type=96):
    """The lines of VP8 with its retransmission format."""
    return [f"a=rtpmap:{payload_type} VP8/90000", *(f"a=rtcp-fb:{payload_type} {name}" for name in FEEDBACK),
            f"a=rtpmap:{payload_type + 1} rtx/90000", f"a=fmtp:{payload_type + 1} apt={payload_type}"]


def video(codecs, formats="96 97 102 108", mid="0", direction="recvonly", extra=()):
    """A video section as Chromium writes it."""
    return [f"m=video 9 UDP/TLS/RTP/SAVPF {formats}", "c=IN IP4 0.0.0.0", *TRANSPORT, f"a=mid:{mid}",
            "a=extmap:5 http://www.webrtc.org/experiments/rtp-hdrext/playout-delay", "a=extmap:9 urn:ietf:params:rtp-hdrext:sdes:mid",
            "a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            f"a={direction}", "a=rtcp-mux", "a=rtcp-rsize", "a=rtcp-xr:rcvr-rtt=all", *codecs, *extra]


def offer(*sections, bundle="0 1"):
    """The text of an offer."""
    lines = SESSION + ([f"a=group:BUNDLE {bundle}"] if bundle else [])
    return "\r\n".join([*lines, *(line for section in sections for line in section)]) + "\r\n"


CHROMIUM = offer(video([*vp8(96), *h264(102, "42001f"), *h264(108, "42e01f")], extra=CANDIDATES), DATA)
