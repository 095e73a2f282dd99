"""Checking and de-identifying a grain of the synthetic source: what each frame costs the metadata stage, and what each static part does."""
import pytest

from appliance.clock import AudienceClock
from appliance.protocol import dicom_rtv
from appliance.protocol.deidentification import Deidentifier
from tests.fuzz.grains import CORPUS

GRAINS = {"dynamic": CORPUS[0], "static": CORPUS[2]}


@pytest.mark.benchmark(group="grain, check and de-identification")
@pytest.mark.parametrize("part", GRAINS)
def test_check(benchmark, part):
    benchmark(dicom_rtv.check_grain, GRAINS[part])


@pytest.mark.benchmark(group="grain, check and de-identification")
@pytest.mark.parametrize("part", GRAINS)
def test_deidentify(benchmark, part):
    by, checked = Deidentifier(AudienceClock.secret(b"of a benchmark", "endoscope")), dicom_rtv.check_grain(GRAINS[part])
    benchmark(by.deidentify, checked)
