"""Converting a 1280x720 4:2:2 10-bit frame to I420: our kernel on every CPU path beside FFmpeg and GStreamer, one thread each.

FFmpeg has no direct way from pgroups: its bitpacked decoder unpacks them, then swscale makes the I420 (timed with the decoder and alone).
GStreamer's videoconvert runs in a process of its own; a frame's time includes telling it so and hearing back, some hundredths of a millisecond.
"""
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest

from appliance.frame import PlanarFormat, VideoFormat
from cext import convert, scale

VIDEO = VideoFormat(1280, 720)
PLANAR = PlanarFormat(1280, 720)
# Several frames in turn, as a ring has them: together they are larger than the caches of one core.
FRAMES = 8
SYSTEM_PYTHON = "/usr/bin/python3"  # Debian's, which has the bindings
PEER = Path(__file__).parent / "peers" / "gstreamer_convert.py"


@pytest.fixture(scope="module")
def raw_frames():
    return [np.random.default_rng(seed).integers(0, 256, VIDEO.frame_bytes, dtype=np.uint8) for seed in range(FRAMES)]


def in_turn(frames):
    while True:
        yield from frames


@pytest.mark.benchmark(group="convert 1280x720 4:2:2 10 bit to I420")
@pytest.mark.parametrize("path", convert.paths())
def test_kernel(benchmark, raw_frames, path):
    converter = convert.Converter("YCbCr-4:2:2", 10, PLANAR, path=path)
    raw, planar = in_turn(raw_frames), in_turn([np.zeros(PLANAR.frame_bytes, np.uint8) for _ in range(FRAMES)])
    benchmark(lambda: converter.convert(next(raw), next(planar)))


def unpacker():
    """FFmpeg's decoder of pgroups."""
    decoder = av.CodecContext.create("bitpacked", "r")
    decoder.width, decoder.height, decoder.pix_fmt = 1280, 720, "yuv422p10le"
    decoder.codec_tag, decoder.bits_per_coded_sample, decoder.thread_count = "UYVY", 20, 1
    return decoder


@pytest.mark.benchmark(group="convert 1280x720 4:2:2 10 bit to I420")
def test_ffmpeg(benchmark, raw_frames):
    decoder, scaler = unpacker(), av.video.reformatter.VideoReformatter()
    packets = in_turn([av.Packet(raw.tobytes()) for raw in raw_frames])

    def convert_one():
        (frame,) = decoder.decode(next(packets))
        return scaler.reformat(frame, format="yuv420p", threads=1)

    assert benchmark(convert_one).format.name == "yuv420p"


@pytest.mark.benchmark(group="convert 1280x720 4:2:2 10 bit to I420")
def test_swscale(benchmark, raw_frames):
    decoder, scaler = unpacker(), av.video.reformatter.VideoReformatter()
    frames = in_turn([frame for raw in raw_frames for frame in decoder.decode(av.Packet(raw.tobytes()))])
    assert benchmark(lambda: scaler.reformat(next(frames), format="yuv420p", threads=1)).format.name == "yuv420p"


@pytest.fixture
def videoconvert():
    """A process that converts a frame for each octet it reads."""
    if subprocess.run([SYSTEM_PYTHON, "-c", "import gi; gi.require_version('Gst', '1.0')"], capture_output=True).returncode:
        pytest.skip("needs GStreamer with its Python bindings: apt-get install python3-gst-1.0 gstreamer1.0-plugins-base")
    with subprocess.Popen([SYSTEM_PYTHON, str(PEER), "1280", "720", str(FRAMES)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        yield process
        process.stdin.close()


@pytest.mark.benchmark(group="convert 1280x720 4:2:2 10 bit to I420")
def test_gstreamer_videoconvert(benchmark, videoconvert):
    def convert_one():
        videoconvert.stdin.write(b".")
        return videoconvert.stdout.read(1)

    assert benchmark(convert_one) == b"."


@pytest.mark.benchmark(group="halve I420 1280x720")
@pytest.mark.parametrize("path", scale.paths())
def test_scaler(benchmark, path):
    small = PlanarFormat(640, 360)
    scaler, target = scale.Scaler(PLANAR, small, path=path), np.zeros(small.frame_bytes, np.uint8)
    frames = in_turn([np.random.default_rng(seed).integers(0, 256, PLANAR.frame_bytes, dtype=np.uint8) for seed in range(FRAMES)])
    benchmark(lambda: scaler.scale(next(frames), target))
