"""TAI and RTP ticks."""
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance import clock

INSTANTS = st.integers(1_600_000_000 * 10**9, 2_200_000_000 * 10**9)


def test_tai_is_ahead_of_utc_by_the_leap_seconds():
    assert abs(clock.tai_ns() - time.time_ns() - 37 * 10**9) < 10**9


def test_timestamp_of_a_known_instant():
    """Check value of shared literature: TAI 1476865695.48 s at 90 kHz."""
    assert clock.rtp_timestamp(1_476_865_695_480_000_000) == 0x5CF6E330


@given(INSTANTS, st.sampled_from([90_000, 48_000, 44_100, 96_000]))
def test_timestamp_is_the_floor_of_the_exact_product(instant, rate):
    assert clock.rtp_timestamp(instant, rate) == int(Fraction(instant, 10**9) * rate) % 2**32


@given(INSTANTS, st.integers(-6 * 3600 * 10**9, 6 * 3600 * 10**9), st.sampled_from([90_000, 48_000]))
def test_unwrapping_gives_the_nearest_instant_with_that_timestamp(instant, error, rate):
    timestamp = clock.rtp_timestamp(instant, rate)
    unwrapped = clock.unwrap_rtp_timestamp(timestamp, instant + error, rate)
    assert clock.rtp_timestamp(unwrapped, rate) == timestamp
    assert abs(unwrapped - instant) <= 10**9 // rate + 1


@given(st.binary(min_size=1, max_size=64), st.text(max_size=32), INSTANTS, st.sampled_from([90_000, 48_000, 96_000]))
def test_a_secret_clock_moves_instants_and_timestamps_alike(secret, stream, instant, rate):
    secret_clock = clock.AudienceClock.secret(secret, stream)
    assert clock.SHIFT_LEAST_MS <= -secret_clock.shift_ms < clock.SHIFT_LEAST_MS + clock.SHIFT_SPAN_MS
    assert clock.rtp_timestamp(secret_clock.at(instant), rate) == (clock.rtp_timestamp(instant, rate) + secret_clock.ticks(rate)) % 2**32
    assert secret_clock == clock.AudienceClock.secret(secret, stream) != clock.AudienceClock.secret(secret + b"x" if len(secret) < 64 else b"x", stream)


def test_without_a_secret_there_is_no_secret_clock_and_experts_have_ours():
    assert (clock.AudienceClock().at(7), clock.AudienceClock().ticks()) == (7, 0)
    with pytest.raises(AssertionError):
        clock.AudienceClock.secret(b"", "endoscope")
