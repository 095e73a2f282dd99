"""Liveness, with the clock in the test's hand."""
from appliance.gateway.liveness import REFUSED_AFTER_S, SAMPLE_INTERVAL_S, SHOWN_LIVE_S, Liveness
from appliance.runtime.counters import Cell


def cell(value: int) -> Cell:
    frames = Cell(memoryview(bytearray(8)).cast("Q"), 0)
    frames.set(value)
    return frames


def test_a_stream_lives_while_its_counter_moves():
    frames = cell(0)
    liveness = Liveness({"scope": frames}, 100.0)
    assert not liveness.live("scope", 100.0, REFUSED_AFTER_S)
    frames.add()
    assert not liveness.live("scope", 100.1)
    liveness.sample(100.25)
    assert liveness.live("scope", 100.25)
    assert liveness.live("scope", 100.25 + SHOWN_LIVE_S + SAMPLE_INTERVAL_S)
    assert not liveness.live("scope", 100.51 + SHOWN_LIVE_S)
    assert liveness.live("scope", 100.51 + SHOWN_LIVE_S, REFUSED_AFTER_S)
    liveness.sample(103.0)
    assert not liveness.live("scope", 103.0, REFUSED_AFTER_S)
    frames.add()
    liveness.sample(103.25)
    assert liveness.live("scope", 103.25)


def test_a_restarted_gateway_believes_in_streams_until_it_saw_them_stop():
    liveness = Liveness({"scope": cell(7)}, 100.0)
    assert liveness.live("scope", 100.0, REFUSED_AFTER_S)
    liveness.sample(102.3)
    assert not liveness.live("scope", 102.3, REFUSED_AFTER_S)


def test_streams_live_apart():
    first, second = cell(0), cell(0)
    liveness = Liveness({"first": first, "second": second}, 0.0)
    second.add()
    liveness.sample(1.0)
    assert (liveness.live("first", 1.0), liveness.live("second", 1.0)) == (False, True)
