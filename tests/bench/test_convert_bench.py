"""Converting a 1280x720 4:2:2 10-bit frame to I420: our kernel on every CPU path beside FFmpeg, one thread each.

FFmpeg has no direct way from pgroups: its bitpacked decoder unpacks them, then swscale makes the I420.
"""
import av
import numpy as np
import pytest

from appliance.frame import PlanarFormat, VideoFormat
from cext import convert

VIDEO = VideoFormat(1280, 720)
PLANAR = PlanarFormat(1280, 720)
# Several frames in turn, as a ring has them: together they are larger than the caches of one core.
FRAMES = 8


@pytest.fixture(scope="module")
def raw_frames():
    return [np.random.default_rng(seed).integers(0, 256, VIDEO.frame_bytes, dtype=np.uint8) for seed in range(FRAMES)]


def in_turn(frames):
    while True:
        yield from frames


@pytest.mark.benchmark(group="convert 1280x720 4:2:2 10 bit to I420")
@pytest.mark.parametrize("path", convert.paths())
def test_kernel(benchmark, raw_frames, path):
    converter = convert.Converter(1280, 720, 10, PLANAR.luma_stride, PLANAR.chroma_stride, PLANAR.u_offset, PLANAR.v_offset, path=path)
    raw, planar = in_turn(raw_frames), in_turn([np.zeros(PLANAR.frame_bytes, np.uint8) for _ in range(FRAMES)])
    benchmark(lambda: converter.convert(next(raw), next(planar)))


@pytest.mark.benchmark(group="convert 1280x720 4:2:2 10 bit to I420")
def test_ffmpeg(benchmark, raw_frames):
    decoder = av.CodecContext.create("bitpacked", "r")
    decoder.width, decoder.height, decoder.pix_fmt = 1280, 720, "yuv422p10le"
    decoder.codec_tag, decoder.bits_per_coded_sample, decoder.thread_count = "UYVY", 20, 1
    scaler = av.video.reformatter.VideoReformatter()
    packets = in_turn([av.Packet(raw.tobytes()) for raw in raw_frames])

    def convert_one():
        (frame,) = decoder.decode(next(packets))
        return scaler.reformat(frame, format="yuv420p", threads=1)

    assert benchmark(convert_one).format.name == "yuv420p"
