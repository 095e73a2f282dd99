"""A WHEP viewer made of GStreamer's webrtcbin, independent of browsers and of aiortc. Run by Debian's own python3.

    webrtcbin_viewer.py WHEP_URL TOKEN SECONDS      prints one JSON line: frames decoded, width, height
"""
import json
import ssl
import sys
import threading
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstWebRTC", "1.0")
gi.require_version("GstSdp", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

url, token, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
Gst.init(None)
loop = GLib.MainLoop()
pipeline = Gst.Pipeline()
peer = Gst.ElementFactory.make("webrtcbin")
peer.set_property("bundle-policy", "max-bundle")
peer.set_property("latency", 0)
pipeline.add(peer)
seen = {"frames": 0, "width": 0, "height": 0}


def on_buffer(_pad, _probe, *_):
    seen["frames"] += 1
    return Gst.PadProbeReturn.OK


def on_pad(_peer, pad):
    decode = Gst.parse_bin_from_description("rtph264depay ! h264parse ! avdec_h264 ! fakesink name=sink sync=false", True)
    pipeline.add(decode)
    decode.sync_state_with_parent()
    pad.link(decode.get_static_pad("sink"))
    decode.get_by_name("sink").get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, on_buffer)
    seen["sink"] = decode.get_by_name("sink")


def ask(signal, *arguments):
    promise = Gst.Promise.new()
    peer.emit(signal, *arguments, promise)
    promise.wait()
    return promise.get_reply()


def join():
    offer = ask("create-offer", None).get_value("offer")
    gathered = threading.Event()
    complete = GstWebRTC.WebRTCICEGatheringState.COMPLETE
    peer.connect("notify::ice-gathering-state", lambda *_: peer.get_property("ice-gathering-state") == complete and gathered.set())
    ask("set-local-description", offer)
    gathered.wait(5)
    text = peer.get_property("local-description").sdp.as_text()
    trust_any = ssl.create_default_context()
    trust_any.check_hostname, trust_any.verify_mode = False, ssl.CERT_NONE
    request = urllib.request.Request(url, text.encode(), {"Content-Type": "application/sdp", "Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, context=trust_any, timeout=10) as answer:
        _, message = GstSdp.SDPMessage.new_from_text(answer.read().decode())
    ask("set-remote-description", GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message))


def end():
    sink = seen.pop("sink", None)
    caps = sink.get_static_pad("sink").get_current_caps() if sink else None
    if caps:
        seen["width"], seen["height"] = caps.get_structure(0).get_value("width"), caps.get_structure(0).get_value("height")
    print(json.dumps(seen), flush=True)
    loop.quit()


peer.connect("pad-added", on_pad)
direction = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
caps = Gst.Caps.from_string("application/x-rtp,media=video,encoding-name=H264,payload=102,clock-rate=90000,packetization-mode=(string)1,"
                            "profile-level-id=(string)42e01f,rtcp-fb-nack-pli=(boolean)true,rtcp-fb-nack=(boolean)true")
peer.emit("add-transceiver", direction, caps)
pipeline.set_state(Gst.State.PLAYING)
threading.Thread(target=join, daemon=True).start()
GLib.timeout_add(int(seconds * 1000), end)
loop.run()
pipeline.set_state(Gst.State.NULL)
