"""Whether what arrives is what the SDP describes, judged from an interval's counts."""
import pytest

from appliance.ingest.fit import FIT_INTERVAL_NS, Fit


FRAME_NS = 20_000_000


def counts(packets=80_000, frames=50, incomplete=0, lost=0, late=0, srd_row=0, sparse=0, second_fields=0, srd_field=0):
    return dict(packets=packets, frames=frames, incomplete=incomplete, lost=lost, late=late, sparse=sparse, second_fields=second_fields,
                malformed={"srd_length": 0, "srd_field": srd_field, "srd_row": srd_row, "srd_offset": 0, "ssrc": 9_000})


def added(*seconds):
    """Running totals, as the assembly gives them."""
    totals = counts(0, 0)
    for second in seconds:
        for name in ("packets", "frames", "incomplete", "lost", "late", "sparse", "second_fields"):
            totals[name] += second[name]
        totals["malformed"] = {reason: totals["malformed"][reason] + n for reason, n in second["malformed"].items()}
        yield totals | {"malformed": dict(totals["malformed"])}


@pytest.mark.parametrize("second, good", [
    (counts(), True),
    (counts(incomplete=50, lost=4000), True),          # a bad network explains the holes
    (counts(incomplete=50, lost=50), True),            # and a loss in every frame does
    (counts(packets=20_000, incomplete=50, lost=49), False),
    (counts(incomplete=49), True),                     # one whole frame: the size is right
    (counts(packets=20_000, incomplete=50), False),    # a smaller picture: nothing lost, never whole
    (counts(packets=70_000, srd_row=10_000), False),   # a larger picture
    (counts(packets=0, frames=0, srd_row=80_000), False),  # another depth
    (counts(packets=2_000, frames=0, sparse=50), False),   # a much smaller picture, not worth a frame
    (counts(packets=40_000, incomplete=50, srd_field=40_000), False),  # fields where frames were promised
    (counts(packets=0, frames=0), True),               # silence says nothing
    (counts(packets=900, frames=1, incomplete=1), True),   # a sender that stalled within a frame and cut it short
    (counts(packets=900, frames=4, incomplete=3, sparse=1, late=339), True),  # or sent the rest of each too late
    (counts(packets=1_200, frames=4, incomplete=4), False),  # smaller, and slower
])
def test_a_second_is_judged(second, good):
    fit = Fit(0, FRAME_NS)
    totals = next(added(second))
    assert fit.changed(totals, FIT_INTERVAL_NS) == (not good)
    assert fit.good == good


def test_the_judgement_changes_once_and_returns():
    fit, now = Fit(0, FRAME_NS), 0
    changes = []
    for totals in added(counts(), counts(packets=20_000, incomplete=50), counts(packets=20_000, incomplete=50), counts()):
        now += FIT_INTERVAL_NS
        assert not fit.changed(totals, now - 1), "not before the interval is over"
        changes.append(fit.changed(totals, now))
    assert changes == [False, True, False, True] and fit.good


@pytest.mark.parametrize("frame_ns, intervals", [(FRAME_NS, 4), (1_000_000_000, 1)])
def test_frames_without_a_whole_one_between_add_up_and_of_a_slow_flow_one_is_enough(frame_ns, intervals):
    fit, judged = Fit(0, frame_ns), []
    for number, totals in enumerate(added(*[counts(packets=900, frames=1, incomplete=1)] * 4), 1):
        fit.changed(totals, number * FIT_INTERVAL_NS)
        judged.append(fit.good)
    assert judged.count(True) == intervals - 1 and not judged[-1]


def test_a_frame_whose_rest_comes_later_is_none_of_a_smaller_picture():
    fit = Fit(0, FRAME_NS)
    for number, totals in enumerate(added(*[counts(packets=900, frames=1, incomplete=1), counts(packets=900, frames=0, late=339)] * 6), 1):
        assert not fit.changed(totals, number * FIT_INTERVAL_NS)


@pytest.mark.parametrize("second_fields, good", [(0, [True, False]), (4, [True, False]), (2, [True, True])])
def test_fields_of_one_kind_alone_are_no_interlaced_picture(second_fields, good):
    fit, judged = Fit(0, FRAME_NS, by_fields=True), []
    for number, totals in enumerate(added(*[counts(frames=4, second_fields=second_fields)] * 2), 1):
        fit.changed(totals, number * FIT_INTERVAL_NS)
        judged.append(fit.good)
    assert judged == good
    assert FIT_INTERVAL_NS * 2.5 <= 1_000_000_000, "a lie that begins within an interval is found out within a second"
