"""What a flow that does not fit its SDP seems to be, as gauges between the stage that sees it and whoever tells a person."""
from fractions import Fraction

from appliance.protocol.raster_guess import RasterGuess
from appliance.runtime.counters import Counters
from appliance.runtime.metrics import ARRIVING_FIGURES

METRIC = "appliance_ingest_arriving"


class Arriving:
    """The writer's side: the gauges of one stream."""

    def __init__(self, counters: Counters) -> None:
        self._cells = {figure: counters.gauge(METRIC, figure=figure) for figure in ARRIVING_FIGURES}

    def show(self, seems: RasterGuess | None) -> None:
        """Sets them; None: the flow fits, or cannot be told."""
        figures = figures_of(seems) if seems else {}
        for figure, cell in self._cells.items():
            cell.set(figures.get(figure, 0))


def figures_of(seems: RasterGuess) -> dict[str, int]:
    """A guess as whole numbers, by ARRIVING_FIGURES."""
    return {"width": seems.width, "height": seems.height, "scan": seems.scan, "pixel_bits": seems.pixel_bits, "pictures_in_1000_s": round(seems.rate * 1000)}


def guess_of(figures: dict[str, int]) -> RasterGuess | None:
    """The guess that such numbers are; None if they are none."""
    if not figures.get("height"):
        return None
    return RasterGuess(figures["width"], figures["height"], figures["scan"], figures["pixel_bits"], Fraction(figures["pictures_in_1000_s"], 1000))
