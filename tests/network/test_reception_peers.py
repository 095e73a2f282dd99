"""Independent senders, whose packing is not ours: FFmpeg and GStreamer on loopback, compared sample by sample with what they were given."""
import shutil
import subprocess

import numpy as np
import pytest

from appliance.frame import SECOND_FIELD, VideoFormat
from tests.network.theatre_network import free_flow, running_ingest

FRAMES = 6
RASTERS = [VideoFormat(1280, 720), VideoFormat(1920, 1080), VideoFormat(720, 576, depth=8), VideoFormat(64, 36), VideoFormat(322, 180, depth=8)]
RGB, FIELDS, TEN_BIT_FIELDS = VideoFormat(640, 360, "RGB", 8), VideoFormat(720, 486, depth=8, interlaced=True), VideoFormat(720, 576, interlaced=True)
FULL_CHROMA, HALF_CHROMA = VideoFormat(322, 180, "YCbCr-4:4:4", 8), VideoFormat(640, 360, "YCbCr-4:2:0", 8)
pytestmark = pytest.mark.system


def components(format, seed):
    """Random samples of the three components, (Cb, Y, Cr) or (R, G, B), each as large as the sampling has it."""
    random, columns, rows = np.random.default_rng(seed), format.pgroup.columns if format.sampling[-5:] != "4:4:4" else 1, format.pgroup.rows
    columns = 1 if format.sampling == "RGB" else columns
    luma, chroma = (format.height, format.width), (format.height // rows, format.width // columns)
    return [random.integers(0, 1 << format.depth, shape, dtype=np.uint16) for shape in (chroma, luma, chroma)]


def packed(format, parts):
    """The rows of pgroups of these samples, most significant bit first (ST 2110-20 tables 1 to 3)."""
    first, second, third = parts
    if format.sampling in ("RGB", "YCbCr-4:4:4"):
        values = np.stack(parts, axis=2)
    elif format.sampling == "YCbCr-4:2:2":
        values = np.stack([first, second[:, ::2], third, second[:, 1::2]], axis=2)
    else:
        values = np.stack([second[::2, ::2], second[::2, 1::2], second[1::2, ::2], second[1::2, 1::2], first, third], axis=2)
    bits = (values[..., None] >> np.arange(format.depth - 1, -1, -1, dtype=np.uint16)) & 1
    return np.packbits(bits.astype(np.uint8).reshape(values.shape[0], -1), axis=1)


def raw_frames(format, frames):
    """What must come out: frames, or the fields of each, first the upper rows."""
    rows = [packed(format, parts) for parts in frames]
    return [part.tobytes() for frame in rows for part in ((frame[::2], frame[1::2]) if format.interlaced else (frame,))]


def planes(parts, order=(1, 0, 2), octets="u1"):
    """Planes one after the other."""
    return b"".join(parts[index].astype(octets).tobytes() for index in order)


def given_to_ffmpeg(format, parts):
    """Pixel format and octets of a frame for FFmpeg."""
    if format.depth == 10:
        return "yuv422p10le", planes(parts, octets="<u2")
    return {"RGB": "rgb24", "YCbCr-4:2:2": "uyvy422"}[format.sampling], packed(format, parts).tobytes()


def given_to_gstreamer(format, parts):
    """Video format and octets of a frame for GStreamer's rawvideoparse."""
    if format.sampling == "YCbCr-4:2:0":
        return "i420", planes(parts)
    if format.sampling == "YCbCr-4:4:4":
        cb, luma, cr = (part.astype(np.uint8) for part in parts)
        return "ayuv", np.stack([np.full_like(luma, 255), luma, cb, cr], axis=2).tobytes()
    return {("RGB", 8): "rgb", ("YCbCr-4:2:2", 8): "uyvy", ("YCbCr-4:2:2", 10): "uyvp"}[format.sampling, format.depth], packed(format, parts).tobytes()


def ffmpeg(format, flow, content, given):
    fields = ["-vf", "setfield=tff"] if format.interlaced else []
    return ["ffmpeg", "-loglevel", "error", "-re", "-f", "rawvideo", "-pix_fmt", given, "-s", f"{format.width}x{format.height}", "-r", "25", "-i", content, *fields,
            "-c:v", "bitpacked" if format.depth == 10 else "rawvideo", "-f", "rtp", "-payload_type", "96", f"rtp://{flow.group}:{flow.port}"]


def gstreamer(format, flow, content, given):
    return ["gst-launch-1.0", "-q", "filesrc", f"location={content}", "!", "rawvideoparse", f"format={given}", f"width={format.width}",
            f"height={format.height}", "framerate=25/1", "!", "rtpvrawpay", "pt=96", "!", "udpsink", f"host={flow.group}", f"port={flow.port}"]


CASES = [(peer, format) for peer in (ffmpeg, gstreamer) for format in (*RASTERS, RGB)] + [
    (ffmpeg, FIELDS), (ffmpeg, TEN_BIT_FIELDS), (gstreamer, FULL_CHROMA), (gstreamer, HALF_CHROMA)]
"""Every sampling, depth and scan that a peer sends as ST 2110-20 has it. FFmpeg sends neither 4:4:4 nor 4:2:0; GStreamer numbers the rows of a field by
those of the frame."""


@pytest.mark.parametrize("peer, format", CASES, ids=lambda value: value.__name__ if callable(value) else str(value))
def test_every_sample_of_another_sender_arrives(tmp_path, peer, format):
    frames = [components(format, seed) for seed in range(FRAMES)]
    sent, content = raw_frames(format, frames), tmp_path / "frames.raw"
    given = [(given_to_ffmpeg if peer is ffmpeg else given_to_gstreamer)(format, parts) for parts in frames]
    content.write_bytes(b"".join(octets for _, octets in given))
    flow = free_flow(format, "127.0.0.1")
    command = peer(format, flow, content, given[0][0])
    assert shutil.which(command[0]), f"{command[0]} is missing: make test installs it"
    with running_ingest(tmp_path, flow) as ingest:
        sender = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        number = 0
        while number < len(sent):
            got, number, flags, *_ = ingest.next_frame()
            assert flags == (SECOND_FIELD if format.interlaced and number % 2 == 0 else 0) and got == sent[number - 1]
        assert sender.wait(20) == 0
        assert ingest.value("appliance_ingest_packets_lost_total") == 0
