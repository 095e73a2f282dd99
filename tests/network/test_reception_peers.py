"""Independent senders, whose packing is not ours: FFmpeg and GStreamer on loopback, compared sample by sample with what they were given."""
import shutil
import subprocess

import numpy as np
import pytest

from appliance.frame import VideoFormat
from tests.network.theatre_network import free_flow, running_ingest

FRAMES = 6
RASTERS = [VideoFormat(1280, 720), VideoFormat(1920, 1080), VideoFormat(720, 576, depth=8), VideoFormat(64, 36), VideoFormat(322, 180, depth=8)]
pytestmark = pytest.mark.system


def samples(format, seed):
    """Random samples as [rows, pgroups, (Cb, Y0, Cr, Y1)]."""
    return np.random.default_rng(seed).integers(0, 1 << format.depth, (format.height, format.width // 2, 4), dtype=np.uint16)


def packed(format, values):
    """The raw frame of these samples: pgroups, most significant bit first (RFC 4175 section 4.3)."""
    if format.depth == 8:
        return values.astype(np.uint8).tobytes()
    bits = (values[..., None] >> np.arange(9, -1, -1, dtype=np.uint16)) & 1
    return np.packbits(bits.reshape(format.height, -1)).tobytes()


def planes(values):
    """Y, Cb and Cr planes, little endian, as FFmpeg's yuv422p10le."""
    cb, y0, cr, y1 = np.moveaxis(values, 2, 0)
    return b"".join(np.ascontiguousarray(plane).astype("<u2").tobytes() for plane in (np.stack([y0, y1], 2), cb, cr))


def ffmpeg(format, flow, content):
    given = "yuv422p10le" if format.depth == 10 else "uyvy422"
    return ["ffmpeg", "-loglevel", "error", "-re", "-f", "rawvideo", "-pix_fmt", given, "-s", f"{format.width}x{format.height}", "-r", "25", "-i", content,
            "-c:v", "bitpacked" if format.depth == 10 else "rawvideo", "-f", "rtp", "-payload_type", "96", f"rtp://{flow.group}:{flow.port}"]


def gstreamer(format, flow, content):
    given = "uyvp" if format.depth == 10 else "uyvy"
    return ["gst-launch-1.0", "-q", "filesrc", f"location={content}", "!", "rawvideoparse", f"format={given}", f"width={format.width}",
            f"height={format.height}", "framerate=25/1", "!", "rtpvrawpay", "pt=96", "!", "udpsink", f"host={flow.group}", f"port={flow.port}"]


@pytest.mark.parametrize("peer", [ffmpeg, gstreamer], ids=lambda peer: peer.__name__)
@pytest.mark.parametrize("format", RASTERS, ids=str)
def test_every_sample_of_another_sender_arrives(tmp_path, peer, format):
    frames = [samples(format, seed) for seed in range(FRAMES)]
    sent = [packed(format, values) for values in frames]
    content = tmp_path / "frames.raw"
    content.write_bytes(b"".join(planes(values) for values in frames) if peer is ffmpeg and format.depth == 10 else b"".join(sent))
    flow = free_flow(format, "127.0.0.1")
    command = peer(format, flow, content)
    assert shutil.which(command[0]), f"{command[0]} is missing: make test installs it"
    with running_ingest(tmp_path, flow) as ingest:
        sender = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        number = 0
        while number < FRAMES:
            got, number, flags, *_ = ingest.next_frame()
            assert flags == 0 and got == sent[number - 1]
        assert sender.wait(20) == 0
        assert ingest.value("appliance_ingest_packets_lost_total") == 0
