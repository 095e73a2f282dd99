"""The tape: PCM packets by their timestamps, against NumPy; loss as silence with soft edges, senders that restart or lie, other rates and drift."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.protocol import channel_order, pcm
from cext.sound import ENDED, HOLES, NOT_YET, ONE, WHOLE
from tests.musician import PAYLOAD_TYPE, Musician, Taped

MILLISECOND = 1_000_000


def heard(musician, first, ticks):
    """What the musician played, as the tape should give it."""
    return musician.play(np.arange(first, first + ticks, dtype=np.int64))[:, :2]


def steepest(samples):
    return np.abs(np.diff(samples, axis=0)).max()


@pytest.mark.parametrize("depth", pcm.DEPTHS)
@pytest.mark.parametrize("channels", [1, 2, 6, 8, 16])
@pytest.mark.parametrize("rate_hz, packet_ticks", [(48_000, 48), (48_000, 6), (48_000, 16), (48_000, 192), (44_100, 44), (96_000, 96), (96_000, 12)])
def test_samples_are_mixed_and_stand_where_their_time_says(depth, channels, rate_hz, packet_ticks):
    groups = {6: ("51",), 8: ("71",)}.get(channels, channel_order.default(channels))
    musician = Musician(rate_hz=rate_hz, depth=depth, channels=channels, packet_ticks=packet_ticks)
    random = np.random.default_rng(channels)
    musician.play = lambda ticks: random.uniform(-0.3, 0.3, (len(ticks), channels))
    gains = channel_order.gains(groups)
    taped = Taped(musician, gains)
    taped.feed(musician.packets(40))
    ticks = 30 * packet_ticks
    wanted = pcm.mix(np.concatenate(musician.sent[1:]), gains)[:ticks]
    got = taped.take(ticks)
    soft = rate_hz // 400  # the beginning fades in
    assert taped.count("packets") == 39 and taped.missing == 0, "the first packet has nothing to fit to"
    np.testing.assert_allclose(got[soft:], wanted[soft:], atol=channels * 2 / 2**depth)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_order_within_the_window_gives_the_same_sound(data):
    taped = Taped()
    packets = taped.musician.packets(24)
    taped.feed(packets[:4])
    rest = packets[4:]
    order = sorted(range(len(rest)), key=lambda i: i + data.draw(st.integers(0, 3)))
    twice = [rest[i] for i in order for _ in range(data.draw(st.integers(1, 2)))]
    taped.feed(twice)
    got = taped.take(23 * 48)
    assert taped.missing == 0 and taped.count("lost") == 0 and taped.count("duplicate") == len(twice) - len(rest)
    np.testing.assert_allclose(got[200:], heard(taped.musician, taped.tape.beginning[0], 23 * 48)[200:], atol=1e-6)


@given(st.sets(st.integers(8, 200), max_size=60))
@settings(max_examples=60, deadline=None)
def test_loss_is_silence_and_never_a_click(lost):
    taped = Taped(Musician(frequency_hz=200, level=0.9))
    packets = [None if number in lost else packet for number, packet in enumerate(taped.musician.packets(280))]
    taped.feed(packets)
    got = taped.take(278 * 48)
    assert taped.missing == 48 * len(lost) and taped.count("lost") == len(lost) and taped.count("ticks_missing") == 48 * len(lost)
    assert steepest(got) < 0.06, "a full-scale click is steeper than a fade over 2 ms"
    assert np.abs(got).max() <= 1


def test_a_long_hole_is_silent():
    taped = Taped()
    packets = taped.musician.packets(60)
    taped.feed(packets[:20] + [None] * 20 + packets[40:])
    got = taped.take(58 * 48)
    assert np.abs(got[25 * 48:39 * 48]).max() < 1e-3
    np.testing.assert_allclose(got[44 * 48:], heard(taped.musician, taped.tape.beginning[0], 58 * 48)[44 * 48:], atol=1e-4)


def test_a_frame_is_due_when_it_is_whole_or_when_its_hole_is_given_up():
    taped = Taped()
    taped.feed(taped.musician.packets(11))
    first = taped.tape.beginning[0]
    end = first + 480
    assert taped.tape.due(end, taped.monotonic_ns) == WHOLE
    assert taped.tape.due(end + 1, taped.monotonic_ns) == NOT_YET
    taped.musician.packet()
    taped.feed([None, *taped.musician.packets(4)])
    assert taped.tape.due(end + 48, taped.monotonic_ns) == NOT_YET, "it may still come"
    taped.feed(taped.musician.packets(1))
    assert taped.tape.due(end + 48, taped.monotonic_ns) == HOLES, "so much came behind it"
    later = end + 48 * 7 + 480
    assert taped.tape.due(later, taped.monotonic_ns + 12 * MILLISECOND) == NOT_YET
    assert taped.tape.due(later, taped.monotonic_ns + 20 * MILLISECOND) == HOLES, "its time is over"
    assert taped.tape.due(later, taped.monotonic_ns + 101 * MILLISECOND) == ENDED


def test_sound_that_comes_back_begins_anew_and_counts_as_an_outage():
    taped = Taped()
    taped.feed(taped.musician.packets(20))
    taped.wait(2000 * MILLISECOND)
    taped.musician.tick += 48 * 2000
    taped.feed(taped.musician.packets(20))
    assert taped.tape.epoch == 2 and taped.count("outages") == 1 and taped.count("restarts") == 0


@pytest.mark.parametrize("change", [dict(ssrc=7), dict(sequence=20_000), dict(tick=12345)])
def test_a_sender_that_restarts_is_followed_after_a_short_proof(change):
    taped = Taped()
    taped.feed(taped.musician.packets(20))
    for name, value in change.items():
        setattr(taped.musician, name, value)
    taped.feed(taped.musician.packets(150))
    assert taped.tape.epoch == 2 and taped.count("restarts") == 1
    reason = {"ssrc": "ssrc", "sequence": "sequence", "tick": "timestamp"}[next(iter(change))]
    assert 90 <= taped.count(reason) <= 110, "until the old had been silent for 100 ms"


def test_a_stranger_beside_the_sender_is_not_heard():
    taped = Taped()
    stranger = Musician(ssrc=9, level=1.0, tick=taped.musician.tick)
    taped.feed([packet for pair in zip(taped.musician.packets(50), stranger.packets(50)) for packet in pair])
    assert taped.count("ssrc") == 50 and np.abs(taped.take(480)).max() < 0.51


@pytest.mark.parametrize("lie", [dict(depth=16), dict(channels=1), dict(channels=4)])
def test_another_depth_or_channel_count_than_described_is_not_played(lie):
    told = Taped()
    liar = Musician(**lie)
    told.feed(liar.packets(50))
    assert told.count("packets") == 0 and told.tape.epoch == 0
    assert told.count("samples") + told.count("length") >= 49


def test_another_packet_time_is_played_and_counted():
    taped = Taped()
    taped.musician.packet_ticks = 24
    taped.feed(taped.musician.packets(40))
    assert taped.count("packet_time_wrong") == taped.count("packets") == 39
    np.testing.assert_allclose(taped.take(480)[200:], heard(taped.musician, taped.tape.beginning[0], 480)[200:], atol=1e-6)


@pytest.mark.parametrize("packet, reason", [
    (b"\x80\x61\0\0", "truncated"), (b"\x40\x61" + bytes(100), "version"), (b"\x80\x60" + bytes(100), "payload_type"),
    (b"\x90\x61" + bytes(10) + b"\0\0\xff\xff", "extension"), (b"\xa0\x61" + bytes(100) + b"\xff", "padding"), (b"\x80\x61" + bytes(15), "length"),
    (b"\x80\x61" + bytes(10), "length"), (b"\x8f\x61" + bytes(20), "truncated")])
def test_what_is_malformed_is_counted_by_its_reason(packet, reason):
    taped = Taped()
    taped.feed([packet])
    assert taped.count(reason) == 1 and taped.count("packets") == 0


@given(st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_no_packet_does_harm(octets):
    taped = Taped()
    taped.feed(taped.musician.packets(4) + [octets, bytes([0x80, PAYLOAD_TYPE]) + octets] + taped.musician.packets(20))
    assert np.isfinite(taped.take(480)).all()


@pytest.mark.parametrize("rate_hz, packet_ticks", [(44_100, 44), (96_000, 96)])
@pytest.mark.parametrize("frequency_hz", [100.0, 1000.0, 8000.0])
def test_another_rate_is_resampled_without_delay(rate_hz, packet_ticks, frequency_hz):
    musician = Musician(rate_hz=rate_hz, packet_ticks=packet_ticks, frequency_hz=frequency_hz, tick=rate_hz * 1000)
    taped = Taped(musician)
    taped.feed(musician.packets(50))
    first, step = taped.tape.beginning[0] + 200, rate_hz * ONE // 48_000
    got = taped.take(960, first << 32, step)
    ticks = first + np.arange(960) * rate_hz / 48_000
    wanted = 0.5 * np.sin(2 * np.pi * (ticks * frequency_hz / rate_hz % 1.0))
    assert np.abs(got[:, 0] - wanted)[200:].max() < 0.5 * 10 ** (-60 / 20)


@given(st.integers(-ONE // 2000, ONE // 2000), st.integers(0, ONE - 1))
@settings(max_examples=30, deadline=None)
def test_a_drifting_clock_is_read_a_little_faster_or_slower(steering, fraction):
    taped = Taped(Musician(frequency_hz=1000.0))
    taped.feed(taped.musician.packets(60))
    position = (taped.tape.beginning[0] + 200 << 32) + fraction
    got = taped.take(480, position, ONE + steering)
    got = np.concatenate([got, taped.take(480, position + 480 * (ONE + steering), ONE + steering)])
    ticks = taped.tape.beginning[0] + 200 + (fraction + np.arange(960) * (ONE + steering)) / ONE
    wanted = 0.5 * np.sin(2 * np.pi * (ticks * 1000 / 48_000 % 1.0))
    assert np.abs(got[:, 0] - wanted).max() < 0.5 * 10 ** (-60 / 20)


def test_what_is_louder_than_full_scale_is_clipped_and_counted():
    taped = Taped(Musician(level=0.9), gains=[(1.0, 0.0), (1.0, 1.0)])
    taped.feed(taped.musician.packets(40))
    assert np.abs(taped.take(960)).max() == 1.0 and taped.count("clipped") > 0 and taped.tape.take_peak() > 1.7


def test_a_reader_that_stands_still_costs_packets_and_nothing_else():
    taped = Taped()
    taped.feed(taped.musician.packets(850))
    assert taped.count("early") == 100 and taped.tape.epoch == 2, "what cannot be kept is forgotten as a whole"
    assert np.abs(taped.take(480)).max() > 0.4


def test_the_lag_shows_a_clock_that_runs_fast():
    taped = Taped()
    for _ in range(1000):
        taped.wait(-100)  # 100 ppm
        taped.feed([taped.musician.packet()])
        if taped.tape.epoch:
            taped.take(48, taped.musician.tick - 48 << 32)
    assert taped.tape.take_lag_ns() == -998 * 100, "of the first packet it was zero"
    assert taped.tape.take_lag_ns() is None
