"""Two paths of a flow of few packets: each packet once and in order, a gap held for the other path and no longer."""
from hypothesis import given
from hypothesis import strategies as st

from appliance.protocol.duplication import HELD_PACKETS_MAX, PathMerge
from appliance.protocol.rtp import RtpHeader, build, parse

SKEW_NS = 10_000_000


def packet(sequence, ssrc=7):
    return build(RtpHeader(104, sequence & 0xFFFF, 0, ssrc), sequence.to_bytes(4, "big"))


def numbers(datagrams):
    return [int.from_bytes(parse(datagram).payload, "big") for datagram in datagrams]


@given(st.integers(0, 0xFFFF), st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60), st.integers(0, 9))
def test_the_union_of_both_paths_comes_out_once_and_in_order(first, fate, lag):
    merge, events, out = PathMerge(SKEW_NS), [], []
    for number, lost in enumerate(fate):
        events += [(number + path * (lag + 0.5), path, first + number) for path in (0, 1) if not lost[path]]
    for at, path, number in sorted(events):
        out += merge.tick(int(at * 1_000_000)) + merge.receive(path, packet(number), int(at * 1_000_000))
    out += merge.tick(10**12)
    begun = min(events)[2] if events else 0
    assert numbers(out) == sorted({number for _, _, number in events if number >= begun})
    assert not merge.holds


def test_a_gap_is_given_up_when_both_paths_have_passed_it_and_after_the_skew_when_one_is_silent():
    merge = PathMerge(SKEW_NS)
    assert numbers(merge.receive(0, packet(1), 0) + merge.receive(1, packet(1), 0)) == [1]
    assert merge.receive(0, packet(3), 1) == [] and merge.holds
    assert numbers(merge.receive(1, packet(3), 2)) == [3]
    assert merge.receive(0, packet(5), 3) == merge.tick(3 + SKEW_NS) == []
    assert numbers(merge.tick(4 + SKEW_NS)) == [5]
    assert merge.redundant == 2


def test_a_sender_that_begins_anew_is_followed_at_once():
    merge = PathMerge(SKEW_NS)
    merge.receive(0, packet(10), 0)
    merge.receive(0, packet(12), 0)
    assert numbers(merge.receive(0, packet(40_000), 0)) == [40_000], "another sequence; what waited for the other path is gone with it"
    assert numbers(merge.receive(1, packet(5, ssrc=8), 0)) == [5], "another sender"
    assert numbers(merge.receive(0, packet(40_001), 0)) == [40_001]


def test_short_datagrams_pass_and_what_is_held_has_a_limit():
    merge = PathMerge(SKEW_NS)
    assert merge.receive(0, b"short", 0) == [b"short"]
    merge.receive(0, packet(0), 0)
    out = [datagram for number in range(2, HELD_PACKETS_MAX + 3) for datagram in merge.receive(0, packet(number), 0)]
    assert numbers(out) == list(range(2, HELD_PACKETS_MAX + 3))
