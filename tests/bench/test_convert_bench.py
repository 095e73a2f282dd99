"""Converting a frame to I420: our kernel in every format beside FFmpeg's swscale and, for 4:2:2 10 bit, GStreamer, one thread each.

swscale starts from planes that are unpacked already and makes I420 of them; for 4:2:2 10 bit FFmpeg's bitpacked decoder, which unpacks pgroups,
is timed with it, too. GStreamer's videoconvert runs in a process of its own; a frame's time includes telling it so and hearing back, some
hundredths of a millisecond. All of ours change the matrix (BT.709 to BT.601) as well; for swscale only R'G'B' does.
"""
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest

from appliance.frame import FieldFormat, PlanarFormat, VideoFormat
from cext import convert, fields, scale

VIDEO = VideoFormat(1280, 720)
PLANAR = PlanarFormat(1280, 720)
HD = PlanarFormat(1920, 1080)
# Several frames in turn, as a ring has them: together they are larger than the caches of one core.
FRAMES = 8
SYSTEM_PYTHON = "/usr/bin/python3"  # Debian's, which has the bindings
PEER = Path(__file__).parent / "peers" / "gstreamer_convert.py"
FORMATS = [(sampling, depth) for sampling in ("YCbCr-4:2:2", "YCbCr-4:4:4", "YCbCr-4:2:0", "RGB") for depth in (8, 10, 12, 16)]
# FFmpeg's planes of the same samples.
PLANES = {("YCbCr-4:2:2", 8): "yuv422p", ("YCbCr-4:2:2", 10): "yuv422p10le", ("YCbCr-4:2:2", 12): "yuv422p12le", ("YCbCr-4:2:2", 16): "yuv422p16le",
          ("YCbCr-4:4:4", 8): "yuv444p", ("YCbCr-4:4:4", 10): "yuv444p10le", ("YCbCr-4:4:4", 12): "yuv444p12le", ("YCbCr-4:4:4", 16): "yuv444p16le",
          ("YCbCr-4:2:0", 10): "yuv420p10le", ("YCbCr-4:2:0", 12): "yuv420p12le", ("YCbCr-4:2:0", 16): "yuv420p16le",
          ("RGB", 8): "gbrp", ("RGB", 10): "gbrp10le", ("RGB", 12): "gbrp12le", ("RGB", 16): "gbrp16le"}


def noise(octets, count=FRAMES):
    return [np.random.default_rng(seed).integers(0, 256, octets, dtype=np.uint8) for seed in range(count)]


@pytest.fixture(scope="module")
def raw_frames():
    return noise(VIDEO.frame_bytes)


def in_turn(frames):
    while True:
        yield from frames


@pytest.mark.benchmark(group="convert 1280x720 4:2:2 10 bit to I420")
@pytest.mark.parametrize("colorimetry", ["BT601", "BT709"])
@pytest.mark.parametrize("path", convert.paths())
def test_kernel(benchmark, raw_frames, path, colorimetry):
    video = VideoFormat(1280, 720, colorimetry=colorimetry)
    converter = convert.Converter("YCbCr-4:2:2", 10, PLANAR, luma_weights=video.luma_weights, path=path)
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


@pytest.mark.benchmark(group="convert 1920x1080 to I420")
@pytest.mark.parametrize("sampling, depth", FORMATS)
def test_every_format(benchmark, sampling, depth):
    video = VideoFormat(1920, 1080, sampling=sampling, depth=depth)
    converter = convert.Converter(sampling, depth, HD, luma_weights=video.luma_weights)
    raw, planar = in_turn(noise(video.frame_bytes, 4)), in_turn([np.zeros(HD.frame_bytes, np.uint8) for _ in range(4)])
    benchmark(lambda: converter.convert(next(raw), next(planar)))


@pytest.mark.benchmark(group="convert 1920x1080 to I420")
@pytest.mark.parametrize("sampling, depth", PLANES)
def test_swscale_from_planes(benchmark, sampling, depth):
    scaler, frames = av.video.reformatter.VideoReformatter(), []
    for seed in range(4):
        frame = av.VideoFrame(1920, 1080, PLANES[sampling, depth])
        for plane in frame.planes:
            samples = np.random.default_rng(seed).integers(0, 1 << depth, plane.buffer_size // (1 if depth == 8 else 2), dtype=np.uint16)
            plane.update((samples.astype(np.uint8) if depth == 8 else samples.astype("<u2")).tobytes())
        frames.append(frame)
    frames = in_turn(frames)
    assert benchmark(lambda: scaler.reformat(next(frames), format="yuv420p", threads=1)).format.name == "yuv420p"


@pytest.mark.benchmark(group="show a field of 1920x1080 at full height")
@pytest.mark.parametrize("path", fields.paths())
def test_field(benchmark, path):
    field = FieldFormat(1920, 540)
    converter, bob = convert.Converter("YCbCr-4:2:2", 10, field, luma_weights=(0.2126, 0.0722)), fields.Bob(field, HD, path=path)
    raw, planar = in_turn(noise(converter.raw_bytes, 4)), in_turn([np.zeros(HD.frame_bytes, np.uint8) for _ in range(4)])
    second = in_turn((False, True))

    def show_one():
        converter.convert(next(raw), bob.field)
        bob.show(next(second), True, next(planar))

    benchmark(show_one)


@pytest.mark.benchmark(group="scale I420")
@pytest.mark.parametrize("path", scale.paths())
@pytest.mark.parametrize("source, target", [((1280, 720), (640, 360)), ((1920, 1080), (1280, 720)), ((3840, 2160), (1920, 1080))],
                         ids=["720p to 360p", "1080p to 720p", "2160p to 1080p"])
def test_scaler(benchmark, source, target, path):
    whole, small = PlanarFormat(*source), PlanarFormat(*target)
    scaler, planar = scale.Scaler(whole, small, path=path), np.zeros(small.frame_bytes, np.uint8)
    frames = in_turn(noise(whole.frame_bytes, 4))
    benchmark(lambda: scaler.scale(next(frames), planar))


@pytest.mark.benchmark(group="scale I420")
@pytest.mark.parametrize("source, target", [((1920, 1080), (1280, 720)), ((3840, 2160), (1920, 1080))], ids=["1080p to 720p", "2160p to 1080p"])
def test_swscale_by_area(benchmark, source, target):
    scaler = av.video.reformatter.VideoReformatter()
    frames = []
    for octets in noise(source[0] * source[1] * 3 // 2, 4):
        frames.append(av.VideoFrame.from_ndarray(octets.reshape(-1, source[0]), format="yuv420p"))
    frames = in_turn(frames)
    assert benchmark(lambda: scaler.reformat(next(frames), *target, interpolation="AREA", threads=1)).width == target[0]
