"""What a theatre shows and says, read back from real rings: the very frame, and a patient only where the metadata say whose it is."""
import pytest

from appliance import clock
from appliance.frame import COMPANION, DISCONTINUITY, INCOMPLETE, MISMATCH
from appliance.hospital.problem import SnapshotRefused
from appliance.hospital.theatre import STATIC_LIMIT_NS
from tests.unit.hospital.bench import Bench

WRAP = 1 << 32


@pytest.fixture
def bench():
    opened = Bench()
    yield opened
    opened.close()


def test_the_very_frame_is_found_long_after_it_passed(bench):
    for number in range(25):
        bench.show(number, rtp_timestamp=(WRAP - 9000 + number * 1800) % WRAP)
    frame = bench.theatre.frame(WRAP - 1800)
    assert (frame.number, frame.offset_ticks, frame.octets[0]) == (4, 0, 4)
    later = bench.theatre.frame(0)  # the clock of ticks has wrapped between them
    assert (later.number, later.offset_ticks) == (5, 0) and bench.theatre.frame(1).offset_ticks == 0, "a tick off is the same frame"


def test_the_nearest_one_stands_in_for_a_frame_that_is_gone_and_says_so(bench):
    for number in range(60):
        bench.show(number, rtp_timestamp=number * 1800)
    frame = bench.theatre.frame(0)
    assert frame.number > 0 and frame.offset_ticks == frame.rtp_timestamp == frame.number * 1800
    assert bench.theatre.frame(200 * 1800 // 2).offset_ticks < 0


@pytest.mark.parametrize("asked", [WRAP // 2, 10_000_000])
def test_a_frame_of_another_time_is_not_stood_in_for(bench, asked):
    bench.show(1, rtp_timestamp=0)
    with pytest.raises(SnapshotRefused, match="no picture") as refused:
        bench.theatre.frame(asked)
    assert refused.value.reason == "no_picture"


def test_without_a_picture_there_is_none_to_store(bench):
    with pytest.raises(SnapshotRefused):
        bench.theatre.frame(0)
    bench.show(1, rtp_timestamp=0, flags=MISMATCH)
    with pytest.raises(SnapshotRefused):
        bench.theatre.frame(0)


def test_holes_are_told_of(bench):
    bench.show(1, rtp_timestamp=0, flags=INCOMPLETE, rows_missing=3)
    assert bench.theatre.frame(0).rows_missing == 3


def test_looking_back_costs_the_stream_nothing(bench):
    for number in range(200):
        bench.show(number, rtp_timestamp=number * 1800)
        bench.theatre.frame(number * 1800 - 9000)
    assert bench.raw.dropped == 0


def test_a_frame_has_the_patient_of_its_own_grain(bench):
    uid = bench.say("P-1", rtp_timestamp=1800, static=True)
    bench.say("", rtp_timestamp=3600, uid=uid)
    assert bench.theatre.static_part(3600).PatientID == "P-1" and bench.theatre.case().patient_id == "P-1"


def test_nobody_is_named_before_a_static_part_came_or_after_the_session_changed(bench):
    first = bench.say("", rtp_timestamp=0)
    assert bench.theatre.static_part(0) is None and bench.theatre.case() is None
    bench.say("P-1", rtp_timestamp=1800, static=True, uid=first)
    assert bench.theatre.static_part(1800).PatientID == "P-1"
    second = bench.say("", rtp_timestamp=3600, flags=DISCONTINUITY)
    assert bench.theatre.static_part(3600) is None and bench.theatre.static_part(1800) is None, "the old identity is gone at once"
    bench.say("P-2", rtp_timestamp=5400, static=True, uid=second)
    assert bench.theatre.static_part(5400).PatientID == "P-2"
    assert bench.theatre.static_part(1800) is None, "a frame of the patient before is not the next one's"


def test_another_patient_in_the_same_session_is_another_patient(bench):
    uid = bench.say("P-1", rtp_timestamp=0, static=True)
    bench.say("P-2", rtp_timestamp=1800, static=True, uid=uid, flags=DISCONTINUITY)
    assert bench.theatre.static_part(1800).PatientID == bench.theatre.static_part(3600).PatientID == "P-2"
    assert bench.theatre.static_part(0) is None, "a frame of the patient before is not the next one's"


def test_a_static_part_that_nobody_repeats_ends(bench):
    bench.say("P-1", rtp_timestamp=0, static=True, publish_tai_ns=clock.tai_ns() - STATIC_LIMIT_NS - 1)
    assert bench.theatre.static_part(0) is None


def test_a_metadata_stage_that_began_anew_is_followed(bench):
    bench.say("P-1", rtp_timestamp=0, static=True, number=5000)
    assert bench.theatre.static_part(0).PatientID == "P-1"
    bench.say("P-2", rtp_timestamp=1800, static=True, number=1, flags=DISCONTINUITY)
    assert bench.theatre.static_part(1800).PatientID == "P-2"


def test_a_frame_without_a_grain_near_it_is_nobodys(bench):
    bench.say("P-1", rtp_timestamp=0, static=True)
    assert bench.theatre.static_part(10 * 90_000) is None


def test_what_describes_the_sound_names_nobody_in_the_picture(bench):
    bench.say("A", 0, static=True)
    bench.say("B", 10, static=True, flags=COMPANION)
    assert bench.theatre.static_part(10).PatientID == "A"
