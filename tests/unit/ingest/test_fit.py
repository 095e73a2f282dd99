"""Whether what arrives is what the SDP describes, judged from a second's counts."""
import pytest

from appliance.ingest.fit import FIT_INTERVAL_NS, Fit


def counts(packets=80_000, frames=50, incomplete=0, lost=0, srd_row=0):
    return dict(packets=packets, frames=frames, incomplete=incomplete, lost=lost,
                malformed={"srd_length": 0, "srd_row": srd_row, "srd_offset": 0, "ssrc": 9_000})


def added(*seconds):
    """Running totals, as the assembly gives them."""
    totals = counts(0, 0)
    for second in seconds:
        for name in ("packets", "frames", "incomplete", "lost"):
            totals[name] += second[name]
        totals["malformed"] = {reason: totals["malformed"][reason] + n for reason, n in second["malformed"].items()}
        yield totals | {"malformed": dict(totals["malformed"])}


@pytest.mark.parametrize("second, good", [
    (counts(), True),
    (counts(incomplete=50, lost=4000), True),          # a bad network explains the holes
    (counts(incomplete=49), True),                     # one whole frame: the size is right
    (counts(packets=20_000, incomplete=50), False),    # a smaller picture: nothing lost, never whole
    (counts(packets=70_000, srd_row=10_000), False),   # a larger picture
    (counts(packets=0, frames=0, srd_row=80_000), False),  # another depth
    (counts(packets=0, frames=0), True),               # silence says nothing
])
def test_a_second_is_judged(second, good):
    fit = Fit(0)
    totals = next(added(second))
    assert fit.changed(totals, FIT_INTERVAL_NS) == (not good)
    assert fit.good == good


def test_the_judgement_changes_once_and_returns():
    fit, now = Fit(0), 0
    changes = []
    for totals in added(counts(), counts(packets=20_000, incomplete=50), counts(packets=20_000, incomplete=50), counts()):
        now += FIT_INTERVAL_NS
        assert not fit.changed(totals, now - 1), "not before the second is over"
        changes.append(fit.changed(totals, now))
    assert changes == [False, True, False, True] and fit.good
