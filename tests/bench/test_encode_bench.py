"""Encoding a moving, tissue-like 1280x720p50 picture as the encode stage does: time a frame by encoder, preset and rate."""
from dataclasses import replace
from fractions import Fraction

import pytest

from appliance.encode.encoder import Encoder, EncoderSettings
from appliance.encode.signalling import Colour
from appliance.frame import PlanarFormat
from tests.unit.encode.pictures import tissue

PLANAR = PlanarFormat(1280, 720)
SETTINGS = EncoderSettings(PLANAR, Fraction(50), 6_000_000, colour=Colour(1, 1, 1, 1))
CASES = {
    "libx264 superfast 6 Mbit/s": ("libx264", SETTINGS),
    "libx264 superfast 4 Mbit/s": ("libx264", replace(SETTINGS, bitrate_bps=4_000_000)),
    "libx264 superfast 6 Mbit/s, 2 threads": ("libx264", replace(SETTINGS, threads=2)),
    "libx264 superfast 6 Mbit/s, high": ("libx264", replace(SETTINGS, profile="high")),
    "libx264 ultrafast 6 Mbit/s": ("libx264", replace(SETTINGS, preset="ultrafast")),
    "libx264 ultrafast 4 Mbit/s": ("libx264", replace(SETTINGS, preset="ultrafast", bitrate_bps=4_000_000)),
    "libvpx 6 Mbit/s": ("libvpx", SETTINGS),
    "libvpx 4 Mbit/s": ("libvpx", replace(SETTINGS, bitrate_bps=4_000_000)),
}


@pytest.fixture(scope="module")
def frames():
    # Forwards and backwards again: motion without a cut.
    pictures = tissue(PLANAR, 40)
    return pictures + pictures[::-1]


@pytest.mark.benchmark(group="encode 1280x720p50")
@pytest.mark.parametrize("case", CASES)
def test_encoder(benchmark, frames, rounds, case):
    name, settings = CASES[case]
    encoder = Encoder(name, settings)
    octets = []

    def one(number):
        octets.append(encoder.encode(frames[number % len(frames)].ctypes.data, number % 250 == 0).size)

    numbers = iter(range(1_000_000))
    benchmark.pedantic(lambda: one(next(numbers)), rounds=rounds(160), warmup_rounds=rounds(5))
    benchmark.extra_info["octets_mean"] = sum(octets) // len(octets)
    benchmark.extra_info["octets_keyframe"] = octets[0]
    assert all(octets)
