"""Notices that what arrives is not what the SDP describes, hides its picture, and says what it seems to be. Used by the ingest stage at every visit."""
from logging import Logger

from appliance.frame import MISMATCH, VideoFormat
from appliance.ingest.fit import Fit
from appliance.protocol.raster_guess import RasterGuess, guess
from appliance.runtime.arriving import Arriving
from appliance.runtime.counters import Counters
from cext.reception import Assembly

SURVEY_NS = 200_000_000
"""How long packets are looked at before somebody is told what they seem to be."""
SURVEYS_MAX = 10
"""A flow that tells nothing by then, such as one of a packet a second, is called unknown."""


class MismatchWatch:
    """The judgement over one flow and who is told of it."""

    def __init__(self, counters: Counters, log: Logger, format: VideoFormat, now_ns: int) -> None:
        self._log, self._format = log, format
        self._fit = Fit(now_ns, int(1_000_000_000 / format.picture_rate), format.by_fields)
        self._gauge, self._arriving = counters.gauge("appliance_ingest_mismatch"), Arriving(counters)
        self._surveyed_ns: int | None = None
        self._surveys = 0

    def look(self, assembly: Assembly, now_ns: int) -> None:
        """Takes the assembly's totals; flags its frames while they do not fit."""
        if self._fit.changed(assembly.statistics(), now_ns):
            assembly.flag_frames(0 if self._fit.good else MISMATCH)
            self._gauge.set(not self._fit.good)
            self._arriving.show(None)
            if self._fit.good:
                assembly.end_survey()
                self._surveyed_ns = None
                self._log.info("what arrives fits the SDP again")
            else:
                assembly.survey()
                self._surveyed_ns, self._surveys = now_ns, 0
        elif self._surveyed_ns is not None and now_ns - self._surveyed_ns >= SURVEY_NS:
            self._name(assembly, now_ns)

    def _name(self, assembly: Assembly, now_ns: int) -> None:
        seen = assembly.survey()
        seems = guess(seen, self._format) if seen else None
        self._surveys += 1
        if seems is None and self._surveys < SURVEYS_MAX:
            self._surveyed_ns = now_ns
            return
        assembly.end_survey()
        self._surveyed_ns = None
        self._arriving.show(seems)
        self._log.warning("what arrives is not the %s that the SDP describes%s; no picture is shown. "
                          "Fetch the SDP from the device again; the stream follows it by itself", self._format, _but(seems))


def _but(seems: RasterGuess | None) -> str:
    return f", but seems to be {seems}" if seems else ""
