"""Colour bars of every colorimetry and range as a real Chromium shows them: our conversion and our encoders, sent by aiortc."""
import asyncio
import json
import threading
from fractions import Fraction

import numpy as np
import pytest
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription

from appliance.encode.encoder import Encoder, EncoderSettings
from appliance.encode.signalling import colour_of
from appliance.frame import PlanarFormat, VideoFormat
from appliance.source import bars
from cext.convert import Converter

WIDTH, HEIGHT, RATE = 640, 360, 50
PLANAR = PlanarFormat(WIDTH, HEIGHT)
CODES_APART_MAX = 3
FORMATS = [VideoFormat(WIDTH, HEIGHT, sampling=sampling, colorimetry=colorimetry, range=range)
           for colorimetry in ("BT601", "BT709", "BT2020") for range in ("NARROW", "FULL") for sampling in ("YCbCr-4:2:2", "RGB")]
# Source: ITU-R BT.2087: linear R'G'B' of BT.2020 to BT.709.
BT709_OF_BT2020 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
PAGE = "data:text/html,<video id=v muted autoplay></video>"
OFFER = """(async () => {
    window.peer = new RTCPeerConnection(); const transceiver = peer.addTransceiver('video', {direction: 'recvonly'});
    transceiver.setCodecPreferences(RTCRtpReceiver.getCapabilities('video').codecs.filter(codec => codec.mimeType.toLowerCase() === 'video/%s'));
    peer.ontrack = event => { v.srcObject = new MediaStream([event.track]); v.play(); };
    await peer.setLocalDescription(await peer.createOffer());
    while (peer.iceGatheringState !== 'complete') await new Promise(done => peer.addEventListener('icegatheringstatechange', done, {once: true}));
    return peer.localDescription.sdp; })()"""
# Two ways that pixels leave the browser; they must agree with what was meant, and so with each other.
READ = """(async (places) => {
    const frame = new VideoFrame(v), width = frame.codedWidth, octets = new Uint8Array(width * frame.codedHeight * 4);
    await frame.copyTo(octets, {format: 'RGBA', colorSpace: 'srgb'});
    const canvas = new OffscreenCanvas(width, frame.codedHeight).getContext('2d', {willReadFrequently: true}); canvas.drawImage(frame, 0, 0);
    const said = frame.colorSpace.toJSON(); frame.close();
    return {said, copied: places.map(([x, y]) => Array.from(octets.slice((y * width + x) * 4, (y * width + x) * 4 + 3))),
            drawn: places.map(([x, y]) => Array.from(canvas.getImageData(x, y, 1, 1).data.slice(0, 3)))}; })(%s)"""


class Coded(MediaStreamTrack):
    """A track of access units: of the picture that was put up last, from a keyframe on."""

    kind = "video"

    def __init__(self, codec):
        super().__init__()
        self._codec, self._number, self._encoder, self._picture, self._put = codec, 0, None, None, None

    def put(self, picture, colour):
        """Shows `picture` (planar octets) from the next frame on."""
        self._put = picture, colour

    async def recv(self):
        await asyncio.sleep(1 / RATE)
        fresh, self._put = self._put, None
        if fresh:
            self._picture = fresh[0]
            self._encoder = Encoder({"h264": "libx264", "vp8": "libvpx"}[self._codec], EncoderSettings(PLANAR, Fraction(RATE), 20_000_000, colour=fresh[1]))
        unit = self._encoder.encode(self._picture.ctypes.data, bool(fresh))
        unit.pts, unit.time_base = self._number * 90_000 // RATE, Fraction(1, 90_000)
        self._number += 1
        return unit


class Sender:
    """An independent WebRTC sender on a thread of its own."""

    def __init__(self, codec):
        self.track, self.loop = Coded(codec), asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def answer(self, offer):
        async def answered():
            self.peer = RTCPeerConnection()
            self.peer.addTrack(self.track)
            await self.peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
            await self.peer.setLocalDescription(await self.peer.createAnswer())
            return self.peer.localDescription.sdp
        return self._run(answered())

    def close(self):
        self._run(self.peer.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def _run(self, awaitable):
        return asyncio.run_coroutine_threadsafe(awaitable, self.loop).result(30)


def converted(video):
    """The bars of a format as our convert stage makes them."""
    picture = np.zeros(PLANAR.frame_bytes, np.uint8)
    Converter(video.sampling, video.depth, PLANAR, range=video.range, luma_weights=video.luma_weights).convert(bars.raw_part(video), picture)
    return picture


def on_screen(rgb, primaries_are_told):
    """Codes of a colour on an sRGB screen: H.264 tells the browser of BT.2020's wider primaries, and it shows them as they are."""
    if primaries_are_told:
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ BT709_OF_BT2020.T
        linear = linear.clip(0, 1)
        rgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return rgb * 255


@pytest.mark.parametrize("codec", ["h264", "vp8"])
def test_bars_of_every_colorimetry_and_range_are_shown_right(browser, codec):
    page, sender = browser.open(PAGE), Sender(codec)
    patches = bars.patches(WIDTH, HEIGHT)
    meant = np.array([patch.rgb for patch in patches])
    read = READ % json.dumps([((patch.left + patch.right) // 2, (patch.top + patch.bottom) // 2) for patch in patches])
    blank = np.full(PLANAR.frame_bytes, 128, np.uint8)
    blank[: PLANAR.u_offset] = 235
    try:
        sender.track.put(blank, colour_of(FORMATS[0]))
        page.evaluate(f"peer.setRemoteDescription({{type: 'answer', sdp: {json.dumps(sender.answer(page.evaluate(OFFER % codec)))}}})")
        for video in FORMATS:
            page.wait(f"v.readyState >= 2 && ({read}).then(seen => seen.copied[7][0] > 250)")  # the blank is up, black is not
            sender.track.put(converted(video), colour_of(video))
            seen = page.wait(f"({read}).then(seen => seen.copied[7][0] < 100 && seen)")
            page.evaluate("new Promise(done => { let left = 4; const count = () => left-- ? v.requestVideoFrameCallback(count) : done(); count(); })")
            seen = page.evaluate(read)
            expected = on_screen(meant, codec == "h264" and video.colorimetry == "BT2020")
            for way in ("copied", "drawn"):
                apart = np.abs(np.array(seen[way]) - expected)
                worst = apart.max(axis=1).argmax()
                assert apart.max() <= CODES_APART_MAX, f"{way}, {video} {video.colorimetry} {video.range}: {seen[way][worst]} instead of {expected[worst]}, {seen['said']}"
            sender.track.put(blank, colour_of(video))
    finally:
        sender.close()
        page.close()
