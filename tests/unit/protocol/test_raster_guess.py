"""What packets seem to be: from the numbers of a survey to words."""
import pytest

from appliance.frame import VideoFormat
from appliance.protocol.raster_guess import guess

SDP = VideoFormat(1280, 720, sampling="YCbCr-4:4:4")
SEEN = dict(packets=10_800, timestamps=5, span=7200, shared=0, rows_end=(720, 0), odd_rows=True, step_pixels=428, step_octets=1070, far_offset=854, far_length=1065)


@pytest.mark.parametrize("changes, words", [
    ({}, "1280x720p50 YCbCr-4:2:2 10 bit"),
    ({"span": 6006}, "1280x720p59.94 YCbCr-4:2:2 10 bit"),
    ({"span": 5000}, "1280x720p YCbCr-4:2:2 10 bit"),  # 72 a second: nobody sends so
    ({"rows_end": (288, 288)}, "1280x576i50 YCbCr-4:2:2 10 bit"),
    ({"rows_end": (244, 243), "shared": 4}, "1280x487PsF50 YCbCr-4:2:2 10 bit"),
    ({"odd_rows": False, "rows_end": (719, 0), "step_pixels": 320, "step_octets": 1200, "far_offset": 960, "far_length": 1200}, "1280x720p50 YCbCr-4:2:0 10 bit"),
    ({"step_pixels": 0, "step_octets": 0, "far_offset": 0, "far_length": 2560}, "1280x720p50 YCbCr-4:2:2 8 bit"),  # a row a packet
    ({"step_pixels": 0, "step_octets": 0, "far_offset": 0, "far_length": 2561}, "?x720p50"),
    ({"step_pixels": 7}, "?x720p50"),
])
def test_words_for_what_was_seen(changes, words):
    assert str(guess(SEEN | changes, SDP)) == words


@pytest.mark.parametrize("changes, sdp", [
    ({"timestamps": 2}, SDP),
    ({"far_offset": 32_000}, SDP), ({"rows_end": (2161, 0)}, SDP), ({"rows_end": (32_414, 32_414)}, SDP),  # of packets that are no picture's
    ({"span": 200_000}, VideoFormat(1280, 720)),  # the SDP's own raster, by a sender that stalls
])
def test_what_cannot_be_told_is_not_named(changes, sdp):
    assert guess(SEEN | changes, sdp) is None
