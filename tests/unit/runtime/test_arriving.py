"""A guess told in gauges reads back as it was."""
from fractions import Fraction

import pytest

from appliance.protocol.raster_guess import RasterGuess
from appliance.runtime.arriving import figures_of, guess_of
from appliance.runtime.metrics import ARRIVING_FIGURES


@pytest.mark.parametrize("seems", [RasterGuess(1920, 1080, 1, 20, Fraction(50)), RasterGuess(0, 576, 0, 0), RasterGuess(1280, 720, 0, 20, Fraction(60000, 1001))], ids=str)
def test_a_guess_reads_back(seems):
    figures = figures_of(seems)
    assert tuple(figures) == ARRIVING_FIGURES and str(guess_of(figures)) == str(seems)
    assert guess_of(dict.fromkeys(ARRIVING_FIGURES, 0)) is None
