"""What the channels of a sound flow are, and how they are mixed down."""
import math

import pytest

from appliance.protocol import channel_order, sdp


@pytest.mark.parametrize("text, groups", [
    ("SMPTE2110.(ST)", ("ST",)), ("SMPTE2110.(51,ST)", ("51", "ST")), ("SMPTE2110.(M, M,ST,U02)", ("M", "M", "ST", "U02")),
    ("SMPTE2110.(LtRt)", ("LTRT",)), ("SMPTE2110.()", None), ("SMPTE2110.(NONE)", None), ("ST", None), ("SMPTE2110.(ST", None)])
def test_groups_are_read(text, groups):
    assert channel_order.parse(text) == groups


@pytest.mark.parametrize("groups", [("ST",), ("M",), ("51",), ("71",), ("51", "ST"), ("M",) * 8, ("ST", "M", "M"), ("U16",), ("SGRP", "ST")])
def test_no_mix_is_louder_than_full_scale_by_its_power(groups):
    gains = channel_order.gains(groups)
    assert len(gains) == channel_order.channels_of(groups)
    for side in (0, 1):
        assert 0 < sum(gain[side] ** 2 for gain in gains) <= 1 + 1e-9


def test_stereo_passes_as_it_is_and_one_microphone_is_heard_on_both_sides():
    assert channel_order.gains(("ST",)) == [(1, 0), (0, 1)] and channel_order.gains(("M",)) == [(1, 1)]


def test_the_stereo_programme_is_preferred_to_mixing_down_its_surround():
    assert channel_order.gains(("51", "ST")) == [(0, 0)] * 6 + [(1, 0), (0, 1)]


def test_surround_is_mixed_as_bs_775_says_without_the_low_frequencies():
    left, right, centre, low, left_behind, right_behind = channel_order.gains(("51",))
    assert centre[0] == centre[1] == pytest.approx(left[0] * math.sqrt(0.5)) == pytest.approx(left_behind[0])
    assert low == (0, 0) and right_behind[0] == right[0] == 0


def test_a_person_may_choose_the_channels():
    assert channel_order.chosen_gains(4, (3,)) == [(0, 0), (0, 0), (1, 1), (0, 0)]
    assert channel_order.chosen_gains(4, (4, 1)) == [(0, 1), (0, 0), (0, 0), (1, 0)]


@pytest.mark.parametrize("rate_hz, packet_time, ticks", [(48_000, "1", 48), (48_000, "0.125", 6), (48_000, "0.12", 6), (48_000, "0.33", 16), (44_100, "1", 44),
                                                         (44_100, "1.09", 48), (96_000, "0.125", 12), (48_000, "4", 192)])
def test_packet_times_of_st_2110_30_and_aes67_are_whole_samples(rate_hz, packet_time, ticks):
    text = f"m=audio 5008 RTP/AVP 97\nc=IN IP4 239.1.1.1\na=rtpmap:97 L24/{rate_hz}/2\na=ptime:{packet_time}\n"
    assert sdp.audio_flow(text, "x").packet_ticks == ticks


@pytest.mark.parametrize("depth", [16, 24])
@pytest.mark.parametrize("channels, groups", [(1, ("M",)), (2, ("ST",)), (6, ("51",)), (8, ("ST", "51"))])
def test_what_is_written_is_read_back(depth, channels, groups):
    flow = sdp.AudioFlow(group="239.1.1.1", port=5008, payload_type=97, rate_hz=48_000, channels=channels, depth=depth, packet_us=125, groups=groups)
    read = sdp.audio_flow(sdp.emit_audio(flow), "x")
    assert (read.channels, read.depth, read.packet_us, read.groups, read.rate_hz) == (channels, depth, 125, groups, 48_000)


def test_a_rate_that_is_none_of_the_standards_is_refused_by_its_line():
    with pytest.raises(sdp.SdpError, match="line 3.*44100, 48000 or 96000"):
        sdp.audio_flow("m=audio 5008 RTP/AVP 97\nc=IN IP4 239.1.1.1\na=rtpmap:97 L24/32000/2\n", "x")
