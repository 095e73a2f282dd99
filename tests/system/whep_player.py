"""A WHEP player on GStreamer's webrtcbin: a client that shares no code with the appliance. Run by the system's Python (python3-gst-1.0).

whep_player.py URL TOKEN SECONDS: plays, then prints what it got as one line of JSON.
"""
import json
import ssl
import sys
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstWebRTC", "1.0")
gi.require_version("GstSdp", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

OFFER_CAPS = ("application/x-rtp,media=video,encoding-name=H264,clock-rate=90000,payload=96,packetization-mode=(string)1,"
              "profile-level-id=(string)42e01f,rtcp-fb-nack=true,rtcp-fb-nack-pli=true")


class Player:
    """One session, from offer to DELETE."""

    def __init__(self, url: str, token: str, seconds: float) -> None:
        self.url, self.token, self.seconds = url, token, seconds
        self.got = {"pictures": 0, "size": None, "messages": 0, "static_messages": 0}
        self.loop = GLib.MainLoop()
        self.pipeline = Gst.Pipeline()
        self.peer = Gst.ElementFactory.make("webrtcbin")
        self.peer.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        self.peer.connect("pad-added", self.on_pad)
        self.pipeline.add(self.peer)

    def request(self, method: str, url: str, body: bytes = b"", **headers: str):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        fields = {name.replace("_", "-"): value for name, value in headers.items()} | {"Authorization": f"Bearer {self.token}"}
        return urllib.request.urlopen(urllib.request.Request(url, body or None, fields, method=method), timeout=5, context=context)

    def play(self) -> dict:
        self.pipeline.set_state(Gst.State.PLAYING)
        self.peer.emit("add-transceiver", GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY, Gst.Caps.from_string(OFFER_CAPS))
        channel = self.peer.emit("create-data-channel", "metadata", Gst.Structure.from_string("options,ordered=false,max-retransmits=0")[0])
        channel.connect("on-message-data", self.on_message)
        self.peer.connect("notify::ice-gathering-state", self.on_gathering)
        offered = Gst.Promise.new()
        self.peer.emit("create-offer", None, offered)
        offered.wait()
        reply = offered.get_reply()
        offer = reply.get_value("offer")  # it points into the reply, which must outlive it
        self.peer.emit("set-local-description", offer, Gst.Promise.new())
        GLib.timeout_add(int(self.seconds * 1000), self.loop.quit)
        self.loop.run()
        if "location" in self.got:
            with self.request("DELETE", urllib.parse.urljoin(self.url, self.got["location"])) as answer:
                self.got["deleted"] = answer.status
        self.pipeline.set_state(Gst.State.NULL)
        return self.got

    def on_gathering(self, *_):
        if self.peer.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE and "posted" not in self.got:
            offer = self.peer.get_property("local-description").sdp.as_text()
            with self.request("POST", self.url, offer.encode(), Content_Type="application/sdp") as answer:
                self.got.update(posted=answer.status, location=answer.headers["Location"], etag=answer.headers["ETag"])
                _, sdp = GstSdp.SDPMessage.new_from_text(answer.read().decode())
            description = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, sdp)
            self.peer.emit("set-remote-description", description, Gst.Promise.new())

    def on_message(self, _, octets):
        self.got["messages"] += 1
        self.got["static_messages"] += octets.get_data()[1] & 1

    def on_pad(self, _, pad):
        """Depacketises and parses, without decoding: webrtcbin has already decrypted, ordered and checked the packets."""
        branch = Gst.parse_bin_from_description("rtph264depay ! h264parse ! video/x-h264,alignment=au ! fakesink name=sink sync=false", True)
        self.pipeline.add(branch)
        branch.get_by_name("sink").get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, self.on_picture)
        branch.sync_state_with_parent()
        pad.link(branch.get_static_pad("sink"))

    def on_picture(self, pad, _):
        self.got["pictures"] += 1
        shape = pad.get_current_caps().get_structure(0)
        self.got["size"] = [shape.get_int("width")[1], shape.get_int("height")[1]]
        return Gst.PadProbeReturn.OK


if __name__ == "__main__":
    Gst.init(None)
    print(json.dumps(Player(sys.argv[1], sys.argv[2], float(sys.argv[3])).play()))
