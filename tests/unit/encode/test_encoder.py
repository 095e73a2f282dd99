"""Encoders through PyAV: the bitstream is read back, by a parser of ours and by FFmpeg's decoder."""
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from appliance.encode.choice import Encoders, prove
from appliance.encode.encoder import Encoder, EncoderFault, EncoderSettings
from appliance.encode.signalling import Colour
from appliance.frame import Codec, PlanarFormat
from tests.unit.encode import h264_syntax as h264
from tests.unit.encode.pictures import luma_of, psnr_db, tissue

PLANAR = PlanarFormat(320, 180)
SETTINGS = EncoderSettings(PLANAR, Fraction(50), 2_000_000, colour=Colour(1, 1, 1, 1))
SOFTWARE = ["libx264", "libvpx"]


def encode(encoder, frames, keyframes_at=(0,)):
    return [encoder.encode(frame.ctypes.data, number in keyframes_at) for number, frame in enumerate(frames)]


def decode(name, units):
    decoder = av.CodecContext.create("vp8" if name == "libvpx" else "h264", "r")
    decoder.thread_count = 1
    return [[frame for frame in decoder.decode(av.Packet(bytes(unit)))] for unit in units]


@pytest.mark.parametrize("name", SOFTWARE)
@pytest.mark.parametrize("threads", [1, 2])
def test_every_frame_comes_out_at_once_and_looks_like_the_one_that_went_in(name, threads):
    frames = tissue(PLANAR, 12)
    units = encode(Encoder(name, replace(SETTINGS, threads=threads)), frames)
    decoded = decode(name, units)
    # No frame is kept back by the decoder either: nothing in the stream makes it wait for a later one.
    assert [len(pictures) for pictures in decoded] == [1] * len(frames)
    for frame, (picture,) in zip(frames, decoded):
        seen = np.frombuffer(picture.planes[0], np.uint8).reshape(180, -1)[:, :320]
        assert psnr_db(luma_of(frame, PLANAR), seen) > 30
    u = np.frombuffer(decoded[-1][0].planes[1], np.uint8).reshape(90, -1)[:, :160]
    expected = frames[-1][PLANAR.u_offset : PLANAR.v_offset].reshape(90, -1)[:, :160]
    assert psnr_db(expected, u) > 30


@pytest.mark.parametrize("name", SOFTWARE)
def test_keyframes_come_exactly_when_asked_for_even_across_a_scene_cut(name):
    frames = tissue(PLANAR, 10) + tissue(PLANAR, 10, seed=9)
    units = encode(Encoder(name, SETTINGS), frames, keyframes_at=(0, 7, 8, 15))
    assert [number for number, unit in enumerate(units) if unit.is_keyframe] == [0, 7, 8, 15]
    if name == "libvpx":
        # Source: RFC 6386 section 9.1: bit 0 of the first octet is 0 in a key frame.
        assert [number for number, unit in enumerate(units) if not bytes(unit)[0] & 1] == [0, 7, 8, 15]


@pytest.mark.parametrize("name", SOFTWARE)
def test_a_decoder_that_joins_at_a_later_keyframe_sees_the_picture(name):
    frames = tissue(PLANAR, 12)
    units = encode(Encoder(name, SETTINGS), frames, keyframes_at=(0, 6))
    (picture,) = decode(name, units[6:])[-1]
    assert psnr_db(luma_of(frames[-1], PLANAR), np.frombuffer(picture.planes[0], np.uint8).reshape(180, -1)[:, :320]) > 30


def test_parameter_sets_come_before_every_idr_and_no_delimiter_anywhere():
    units = [bytes(unit) for unit in encode(Encoder("libx264", SETTINGS), tissue(PLANAR, 10), keyframes_at=(0, 4, 9))]
    for number, unit in enumerate(units):
        types = [kind for kind in h264.nal_types(unit) if kind != h264.SEI]
        assert types == ([h264.SPS, h264.PPS, h264.IDR] if number in (0, 4, 9) else [1])


@pytest.mark.parametrize("profile, number, constraints", [("constrained-baseline", 66, 0xC0), ("high", 100, 0)])
def test_the_sequence_parameter_set_says_low_delay_colour_and_rate(profile, number, constraints):
    settings = replace(SETTINGS, profile=profile, rate=Fraction(60000, 1001), colour=Colour(9, 16, 9, 2))
    (unit,) = map(bytes, encode(Encoder("libx264", settings), tissue(PLANAR, 1)))
    sps = h264.parse_sps(next(nal for nal in h264.nal_units(unit) if nal[0] & 0x1F == h264.SPS))
    assert (sps.profile, sps.constraints & 0xC0) == (number, constraints)
    assert (sps.width, sps.height) == (320, 180)
    assert (sps.reorder_frames, sps.reference_frames, sps.decoder_frames) == (0, 1, 1)
    assert (sps.primaries, sps.transfer, sps.matrix, sps.full_range) == (9, 16, 9, 1)
    assert Fraction(sps.ticks[1], 2 * sps.ticks[0]) == Fraction(60000, 1001)


def test_a_720p50_stream_says_level_3_2():
    planar = PlanarFormat(1280, 720)
    (unit,) = map(bytes, encode(Encoder("libx264", EncoderSettings(planar, Fraction(50), 6_000_000)), tissue(planar, 1)))
    # Source: ITU-T H.264 table A-1: 3600 macroblocks x 50 = 180 000 a second is more than level 3.1 allows.
    assert h264.parse_sps(h264.nal_units(unit)[0]).level == 32


@pytest.mark.parametrize("name", SOFTWARE)
def test_the_rate_is_kept_and_a_keyframe_stays_within_the_buffer(name):
    units = encode(Encoder(name, SETTINGS), tissue(PLANAR, 100, noise=3.0), keyframes_at=(0, 50))
    octets = [unit.size for unit in units]
    assert 0.5 * SETTINGS.bitrate_bps < sum(octets) * 8 * 50 / len(octets) < 1.15 * SETTINGS.bitrate_bps
    if name == "libx264":
        assert octets[50] * 8 < 1.2 * SETTINGS.vbv_bits


@pytest.mark.parametrize("name", SOFTWARE)
def test_the_picture_may_change_as_soon_as_it_is_encoded(name):
    frames = tissue(PLANAR, 6)
    encoder, shared = Encoder(name, SETTINGS), np.zeros(PLANAR.frame_bytes, np.uint8)
    units = []
    for number, frame in enumerate(frames):
        shared[:] = frame
        units.append(encoder.encode(shared.ctypes.data, number == 0))
        shared[:] = number
    # Not compared octet by octet with another encoding: on a busy machine libvpx chooses another speed.
    for frame, (picture,) in zip(frames, decode(name, units), strict=True):
        assert psnr_db(luma_of(frame, PLANAR), picture.to_ndarray()[: PLANAR.height, : PLANAR.width]) > 30


@pytest.mark.parametrize("name", SOFTWARE)
@pytest.mark.parametrize("width, height", [(16, 16), (50, 35), (66, 37), (720, 486), (1366, 18)])
def test_any_raster_with_an_even_width(name, width, height):
    planar = PlanarFormat(width, height)
    settings = replace(SETTINGS, planar=planar)
    frames = tissue(planar, 2)
    decoded = decode(name, encode(Encoder(name, settings), frames))
    (picture,) = decoded[-1]
    assert (picture.width, picture.height) == (width, height - height % 2)
    seen = np.frombuffer(picture.planes[0], np.uint8).reshape(-1, picture.planes[0].line_size)[: picture.height, :width]
    assert psnr_db(luma_of(frames[-1], planar)[: picture.height], seen) > 25


def test_what_cannot_be_opened_is_a_fault_with_a_reason():
    with pytest.raises(EncoderFault, match="."):
        Encoder("libx264", replace(SETTINGS, preset="no-such-preset"))
    with pytest.raises(EncoderFault, match="not in this build"):
        prove("h264_of_the_future", SETTINGS)


def test_automatic_choice_takes_what_really_encodes_and_says_why_not_the_others():
    choice = Encoders("auto").choose(Codec.H264, SETTINGS)
    assert choice.encoder.name not in choice.refusals
    assert all(choice.refusals.values())
    assert choice.encoder.name in str(choice)
    for name, reason in choice.refusals.items():
        assert f"{name}: {reason}" in str(choice)
    frames = tissue(PLANAR, 3)
    assert [unit.is_keyframe for unit in encode(choice.encoder, frames, keyframes_at=(1,))] == [False, True, False]


def test_software_is_taken_without_trying_hardware_when_it_is_named():
    assert Encoders("libx264").choose(Codec.H264, SETTINGS).refusals == {}
    assert Encoders("auto").choose(Codec.VP8, SETTINGS).encoder.name == "libvpx"


@pytest.mark.parametrize("codec", Codec)
def test_what_was_refused_or_proven_is_not_tried_again(codec):
    encoders, smaller = Encoders("auto"), replace(SETTINGS, planar=PlanarFormat(160, 90), rate=Fraction(25))
    first, second = (encoders.choose(codec, settings) for settings in (SETTINGS, smaller))
    assert second.encoder.name == first.encoder.name and second.refusals == {}
    if first.encoder.name in SOFTWARE:  # hardware is proven for each raster
        assert (first.encoder.frames, second.encoder.frames) == (3, 0)
    units = encode(second.encoder, tissue(smaller.planar, 3), keyframes_at=(0, 2))
    assert [unit.is_keyframe for unit in units] == [True, False, True]


def test_another_process_asks_every_encoder_again():
    refusals = [Encoders("h264_v4l2m2m").choose(Codec.H264, SETTINGS).refusals.keys() for _ in range(2)]
    assert refusals[0] == refusals[1] <= {"h264_v4l2m2m"}


def test_nothing_of_the_probing_reaches_standard_error(capfd):
    Encoders("auto").choose(Codec.H264, SETTINGS)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", SOFTWARE)
def test_an_odd_last_column_and_row_are_not_coded(name):
    planar = PlanarFormat(321, 181)
    frames = [np.full(planar.frame_bytes, 100, np.uint8)]
    ((picture,),) = decode(name, encode(Encoder(name, replace(SETTINGS, planar=planar)), frames))
    assert (picture.width, picture.height) == (320, 180)
