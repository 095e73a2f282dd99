"""What the source is asked to send: defaults, rates by their usual names, and every mistake told."""
import argparse
from fractions import Fraction

import pytest

from appliance.errors import ConfigurationError
from appliance.frame import VideoFormat
from appliance.source.options import add_arguments, plan


def asked(*arguments: str):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return plan(parser.parse_args(arguments))


def test_by_default_it_sends_the_papers_format_on_loopback():
    order = asked()
    assert str(order.format) == "1280x720p50 YCbCr-4:2:2 10 bit"
    assert (order.source_address, order.group, order.port) == ("127.0.0.1", "239.20.22.1", 5004)
    assert (order.metadata_group, order.metadata_port) == ("239.20.22.2", 5006)


@pytest.mark.parametrize("text, rate", [("50", 50), ("59.94", Fraction(60000, 1001)), ("60000/1001", Fraction(60000, 1001)),
                                        ("29.97", Fraction(30000, 1001)), ("23.976", Fraction(24000, 1001)), ("12.5", Fraction(25, 2))])
def test_rates_by_their_usual_names(text, rate):
    assert asked("--rate", text).format.rate == rate


def test_formats_by_their_usual_names():
    asked_for = asked("--size", "1920x1080", "--rate", "29.97", "--interlace", "--sampling", "ycbcr-4:2:2", "--range", "full", "--colorimetry", "bt2020", "--packing", "bpm")
    assert asked_for.format == VideoFormat(1920, 1080, rate=Fraction(30000, 1001), interlaced=True, range="FULL", colorimetry="BT2020", packing="2110BPM")
    assert asked("--segmented").format.scan == "PsF" and asked("--sampling", "rgb").format.sampling == "RGB"
    assert asked("--maxudp", "8960").maxudp == 8960


def test_an_interface_may_be_named_by_its_address():
    assert asked("--interface", "127.0.0.1").source_address == "127.0.0.1"


def test_metadata_to_one_receiver_shares_its_address():
    order = asked("--group", "127.0.0.1", "--port", "7000")
    assert (order.metadata_group, order.metadata_port) == ("127.0.0.1", 7002)


def test_video_alone():
    assert asked("--no-metadata").metadata_group is None


@pytest.mark.parametrize("arguments, told", [
    (["--size", "1281x720"], "even width"), (["--size", "big"], "WIDTHxHEIGHT"), (["--size", "32x32"], "64x64 to"), (["--size", "8192x4320"], "4096x2160"),
    (["--depth", "9"], "8, 10, 12 or 16"), (["--sampling", "4:1:1"], "4:2:2 or 4:4:4"), (["--packing", "best"], "gpm or bpm"), (["--maxudp", "9000"], "576 to 8960"),
    (["--packing", "bpm", "--maxudp", "8960"], "block packing"), (["--packing", "bpm", "--depth", "16"], "block of 180"), (["--colorimetry", "sepia"], "BT601 or"),
    (["--range", "WIDE"], "NARROW or"), (["--picture", "cat"], "endoscope or bars"), (["--picture", "bars", "--timestamp-bars"], "endoscope"),
    (["--sampling", "4:2:0", "--interlace"], "progressive"), (["--sampling", "4:2:0", "--size", "640x361"], "Use 640x362"),
    (["--sampling", "RGB", "--size", "642x360"], "Use 644x360"), (["--rate", "0"], "frames a second"), (["--rate", "fast"], "frames a second"), (["--rate", "50/0"], "frames a second"),
    (["--rate", "1000"], "frames a second"), (["--interface", "nowhere0"], "interfaces are: .*lo"), (["--interface", "203.0.113.9"], "interfaces are: .*lo"),
    (["--group", "endoscope"], "IPv4"), (["--group", "0.0.0.0"], "IPv4"), (["--port", "0"], "1 to 65535"), (["--port", "65535"], "1 to 65535"),
    (["--ttl", "256"], "0 to 255"), (["--name", "../escape"], "file name"), (["--seconds", "0"], "above 0"), (["--seconds", "nan"], "above 0"),
    (["--size", "640x360", "--timestamp-bars"], "1024 columns"), (["--metadata-group", "239.20.22.1", "--metadata-port", "5004"], "destination of its own"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_a_mistake_is_told(arguments, told):
    with pytest.raises(ConfigurationError, match=told):
        asked(*arguments)


def test_all_mistakes_are_told_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError) as raised:
        asked("--size", "1281x720", "--depth", "9", "--interface", "nowhere0", "--sdp-dir", str(tmp_path / "file"))
    assert [problem.split(":")[0] for problem in raised.value.problems] == ["--size", "--depth", "--interface", "--sdp-dir"]
