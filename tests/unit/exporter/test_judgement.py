"""Status words: what each fault is called, that worse is said at once and better after three seconds, and what times rest on."""
from dataclasses import replace

import pytest

from appliance.exporter.judgement import STARTING_S, Figures, Judge, Time, find, judge_time
from appliance.exporter.reference_clock import ClockState, PtpState
from appliance.frame import VideoFormat
from appliance.protocol import ptp
from appliance.protocol.sdp import VideoFlow
from appliance.runtime.health import BY_ARRIVAL, BY_CLOCK, BY_PTP, DOMAINS, FINDINGS, OVERALL, Status

GRANDMASTER = 0x39A794FFFE07CBD0
FLOW = VideoFlow(format=VideoFormat(1280, 720), group="239.1.1.1", port=5004, payload_type=96, ptp="IEEE1588-2008:39-A7-94-FF-FE-07-CB-D0:127")
GOOD = Figures(seconds=2, packets=200_000, frames=100, links={"eth1": True})
LOCKED = ClockState(PtpState(domain=127, clock=1, grandmaster=GRANDMASTER, offset_ns=420), True, 37)
NO_CLOCK_NEEDED = Time(False, BY_ARRIVAL, {}, False)
HARDWARE = (ptp.Port("eth1", ptp.SLAVE, True),)


@pytest.mark.parametrize("change, names", [
    ({}, set()),
    ({"links": {"eth1": False}, "packets": 0, "frames": 0}, {"link_down", "silent"}),
    ({"links": {"eth1": True, "eth2": False}}, {"one_link_down"}),
    ({"packets": 0, "frames": 0}, {"silent"}),
    ({"lost": 1}, {"lost"}), ({"late": 3}, {"late"}), ({"kernel_drops": 1}, {"kernel_drops"}),
    ({"paths": {"a": 100, "b": 0}}, {"path_silent"}), ({"paths": {"a": 100, "b": 100}, "recovered": 5}, {"recovered"}),
    ({"frames": 0}, {"no_pictures"}), ({"frames": 0, "mismatch": True}, {"mismatch"}), ({"packets": 0, "refused": 9_000, "frames": 0}, {"no_pictures", "refused"}),
    ({"incomplete": 60}, {"incomplete"}), ({"incomplete": 50}, {"some_incomplete"}), ({"frames": 1, "incomplete": 1}, {"some_incomplete"}),
    ({"refused": 200}, set()), ({"refused": 201}, {"refused"}), ({"dropped": 1}, {"dropped"}), ({"metadata_stale": True}, {"metadata"}), ({"sound_lost": True}, {"sound"}),
    ({"hardware_verdict": "wide"}, {"sender_type"}), ({"hardware_verdict": "narrow_linear"}, set()), ({"hardware_verdict": "not_compliant"}, {"sender_type"}),
])
def test_every_fault_has_its_name(change, names):
    assert set(find(replace(GOOD, **change), "2110TPN")) == names


@pytest.mark.parametrize("clock, basis, names", [
    (LOCKED, BY_PTP, set()),
    (ClockState(), BY_ARRIVAL, {"no_ptp"}), (ClockState(synchronised=True, tai_offset_s=37), BY_CLOCK, {"no_ptp_but_clock"}),
    (ClockState(PtpState("/run/ptp4l: Permission denied"), None), BY_ARRIVAL, {"no_ptp"}),
    (replace(LOCKED, ptp=replace(LOCKED.ptp, grandmaster=None)), BY_ARRIVAL, {"ptp_not_locked"}),
    (replace(LOCKED, ptp=replace(LOCKED.ptp, offset_ns=-2_000_000)), BY_ARRIVAL, {"ptp_not_locked"}),
    (replace(LOCKED, ptp=replace(LOCKED.ptp, grandmaster=7)), BY_ARRIVAL, {"grandmaster"}), (replace(LOCKED, ptp=replace(LOCKED.ptp, domain=0)), BY_ARRIVAL, {"grandmaster"}),
    (replace(LOCKED, ptp=replace(LOCKED.ptp, ports=HARDWARE)), BY_PTP, set()),
    (ClockState(replace(LOCKED.ptp, ports=HARDWARE), False, 37), BY_ARRIVAL, {"system_clock"}),
    (ClockState(replace(LOCKED.ptp, utc_offset_s=38), True, 37), BY_ARRIVAL, {"tai_offset"}), (ClockState(replace(LOCKED.ptp, utc_offset_s=37), True, 37), BY_PTP, set()),
])
def test_what_times_rest_on(clock, basis, names):
    time = judge_time(FLOW, clock, GOOD)
    assert (time.basis, set(time.found), time.trusted) == (basis, names, basis != BY_ARRIVAL)


def test_a_traceable_clock_is_any_and_an_sdp_without_ptp_needs_none():
    other = replace(LOCKED, ptp=replace(LOCKED.ptp, grandmaster=7, domain=3))
    assert judge_time(replace(FLOW, ptp="IEEE1588-2008:traceable"), other, GOOD).basis == BY_PTP
    without = judge_time(replace(FLOW, ptp=None), LOCKED, GOOD)
    assert (without.basis, without.found, without.used) == (BY_ARRIVAL, {}, False)


def test_a_sender_on_another_time_is_found_although_this_clock_is_right():
    far = replace(GOOD, arrival_timed=100, transit_ns=37_000_000_000)
    time = judge_time(FLOW, LOCKED, far)
    assert time.trusted and time.basis == BY_ARRIVAL and "as if it sent UTC in place of TAI" in time.found["sender_clock"]
    assert "sender_clock" not in judge_time(FLOW, LOCKED, replace(far, arrival_timed=10)).found


def test_the_particulars_name_both_clocks():
    told = judge_time(FLOW, replace(LOCKED, ptp=replace(LOCKED.ptp, grandmaster=7)), GOOD).found["grandmaster"]
    assert told == "SDP: 39-A7-94-FF-FE-07-CB-D0, domain 127; here: 00-00-00-00-00-00-00-07, domain 127"


def look(judge, now_s, figures=GOOD, time=NO_CLOCK_NEEDED):
    judge.look(figures, None, time, now_s)
    return judge.status["connection"], judge.status[OVERALL]


def test_worse_is_said_at_once_and_better_after_three_seconds():
    judge = Judge(0)
    assert look(judge, 1) == (Status.HEALTHY, Status.HEALTHY)
    assert look(judge, 2, replace(GOOD, lost=5)) == (Status.UNHEALTHY, Status.UNHEALTHY)
    assert look(judge, 4.9) == (Status.UNHEALTHY, Status.UNHEALTHY) and judge.found == {"lost": "5 lost, 0 late of 200,000 packets in 2 s"}
    assert look(judge, 5) == (Status.HEALTHY, Status.HEALTHY) and judge.found == {}
    assert look(judge, 6, replace(GOOD, paths={"a": 1, "b": 0})) == (Status.PARTIALLY_HEALTHY, Status.PARTIALLY_HEALTHY)
    assert look(judge, 7, replace(GOOD, lost=1)) == (Status.UNHEALTHY, Status.UNHEALTHY)
    assert judge.transitions["connection"] == judge.transitions[OVERALL] == 3 and judge.transitions["link"] == 0


def test_what_the_worse_finding_says_with_its_figures_is_not_said_twice():
    judge = Judge(0)
    lossy = replace(GOOD, paths={"a": 1, "b": 1}, recovered=900)
    look(judge, 1, lossy)
    assert set(judge.found) == {"recovered"}
    look(judge, 2, replace(lossy, lost=64, late=2, incomplete=64))
    assert set(judge.found) == {"lost", "incomplete"} and "64 lost, 2 late, 900 replaced by the other path of" in judge.found["lost"]
    look(judge, 3, replace(lossy, incomplete=1))
    assert set(judge.found) == {"lost", "incomplete"}, "as long as they are said"
    look(judge, 5.5, lossy)
    assert set(judge.found) == {"recovered", "some_incomplete"} and judge.found["some_incomplete"] == "1 of 100 in 2 s"


def test_what_this_machine_drops_is_no_fault_of_the_network():
    judge = Judge(0)
    look(judge, 1, replace(GOOD, lost=900, late=4, kernel_drops=300))
    assert judge.found == {"kernel_drops": "300 receive buffers, 900 packets lost in 2 s"}


def test_one_frame_cut_short_by_a_sender_that_stalls_is_no_unhealthy_stream():
    judge = Judge(0)
    assert look(judge, 1, replace(GOOD, packets=900, frames=1, incomplete=1, late=339)) == (Status.PARTIALLY_HEALTHY, Status.PARTIALLY_HEALTHY)
    assert set(judge.found) == {"late", "some_incomplete"} and "the sender stalls" in FINDINGS["late"].sentence


@pytest.mark.parametrize("change, name", [({"packets": 0, "frames": 0}, "silent"), ({"paths": {"a": 100, "b": 0}}, "path_silent"), ({"frames": 0}, "no_pictures"),
                                          ({"incomplete": 1}, "some_incomplete")])
def test_a_source_is_not_missed_before_it_had_time_to_come(change, name):
    started = replace(GOOD, **change)
    assert find(replace(started, started_s=STARTING_S - 0.1), None) == {} and set(find(replace(started, started_s=STARTING_S), None)) == {name}


def test_the_overall_status_is_the_worst_and_clocks_that_nobody_needs_do_not_count():
    judge = Judge(0)
    look(judge, 1, replace(GOOD, incomplete=1), judge_time(FLOW, ClockState(PtpState(domain=1), False), GOOD))
    assert judge.status == {"link": 1, "connection": 1, "external_synchronisation": 3, "stream": 2, OVERALL: 3}
    judge = Judge(0)
    look(judge, 1)
    assert judge.status["external_synchronisation"] == Status.INACTIVE and judge.status[OVERALL] == Status.HEALTHY


def test_a_theatre_that_is_switched_off_is_inactive_unless_somebody_watches():
    silent = replace(GOOD, packets=0, frames=0)
    judge = Judge(0)
    look(judge, 1)
    assert look(judge, 30, silent)[1] == Status.UNHEALTHY
    assert look(judge, 70, silent)[1] == Status.INACTIVE and judge.found == {}
    assert look(judge, 71, replace(silent, viewers=1))[1] == Status.UNHEALTHY
    assert look(judge, 75)[1] == Status.HEALTHY


def test_every_finding_says_what_it_means_to_a_person():
    for finding in FINDINGS.values():
        assert finding.domain in DOMAINS and finding.status in (Status.PARTIALLY_HEALTHY, Status.UNHEALTHY)
        assert finding.sentence[0].isupper() and finding.sentence[-1] in ".?" and len(finding.sentence) > 20
