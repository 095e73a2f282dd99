"""Words of the SDP to code points of ITU-T H.273."""
import pytest

from appliance.encode.signalling import Colour, colour_of
from appliance.frame import VideoFormat


@pytest.mark.parametrize("words, colour", [
    (dict(colorimetry="BT601"), Colour(6, 6, 6, 1)),
    (dict(colorimetry="BT709"), Colour(1, 1, 6, 1)),
    (dict(colorimetry="BT709", range="FULL"), Colour(1, 1, 6, 1)),
    (dict(colorimetry="BT709", range="FULLPROTECT"), Colour(1, 1, 6, 1)),
    (dict(colorimetry="BT2020"), Colour(9, 14, 6, 1)),
    (dict(colorimetry="BT2100", transfer="PQ"), Colour(9, 16, 6, 1)),
    (dict(colorimetry="BT2100", transfer="HLG"), Colour(9, 18, 6, 1)),
    (dict(colorimetry="BT2020", transfer="HLG"), Colour(9, 18, 6, 1)),
    (dict(colorimetry="BT709", transfer="DENSITY"), Colour(1, 2, 6, 1)),
    (dict(colorimetry="UNSPECIFIED"), Colour(2, 2, 6, 1)),
    (dict(colorimetry="XYZ"), Colour(2, 2, 6, 1)),
])
def test_colorimetry(words, colour):
    assert colour_of(VideoFormat(1280, 720, **words)) == colour
