"""Grains out of packets: flags, marker, timestamps, losses, restarts and foreign senders."""
import itertools

from hypothesis import given
from hypothesis import strategies as st

from appliance.protocol import grain, rtp
from appliance.protocol.grain import END, GRAIN_PACKETS_MAX, SESSION_PROOF_PACKETS, START, GrainAssembler

PAYLOAD_TYPE, FLAGS_ID, SSRC = 104, 5, 0x11223344
GRAIN = bytes(128) + b"DICM" + bytes(range(256)) * 10


def assembler(**changes) -> GrainAssembler:
    return GrainAssembler(**{"payload_type": PAYLOAD_TYPE, "grain_flags_id": FLAGS_ID, **changes})


def packet(sequence: int, payload: bytes, timestamp: int = 1000, flags: int | None = 0, marker: bool = False, ssrc: int = SSRC, payload_type: int = PAYLOAD_TYPE) -> bytes:
    elements = None if flags is None else {FLAGS_ID: bytes([flags])}
    return rtp.build(rtp.RtpHeader(payload_type, sequence & 0xFFFF, timestamp, ssrc, marker), payload, elements)


def packets(payload: bytes, sequence: int = 0, timestamp: int = 1000, pieces: int = 3, **changes) -> list[bytes]:
    """A grain as PS3.22 and the grain flags have it: S on the first packet, E on the last, the marker as well."""
    size = -(-len(payload) // pieces)
    parts = [payload[at:at + size] for at in range(0, len(payload), size)]
    return [packet(sequence + n, part, timestamp, (START if n == 0 else 0) | (END if n == len(parts) - 1 else 0), n == len(parts) - 1, **changes)
            for n, part in enumerate(parts)]


def fed(receiver: GrainAssembler, datagrams) -> list[bytes]:
    return [done.payload for n, datagram in enumerate(datagrams) for done in receiver.receive(datagram, n)]


def test_a_grain_in_one_packet():
    receiver = assembler()
    (done,) = receiver.receive(packet(7, GRAIN, 90_000, START | END), 123)
    assert (done.payload, done.rtp_timestamp, done.first_packet_tai_ns, done.new_session) == (GRAIN, 90_000, 123, True)
    assert not receiver.dropped and not receiver.malformed and receiver.lost == 0


def test_a_grain_in_several_packets_has_the_time_of_the_first():
    receiver = assembler()
    done = [done for n, datagram in enumerate(packets(GRAIN)) for done in receiver.receive(datagram, 100 + n)]
    assert [(one.payload, one.first_packet_tai_ns) for one in done] == [(GRAIN, 100)]


def test_a_jumbo_packet_is_taken():
    payload = bytes(128) + b"DICM" + bytes(8_700)
    assert fed(assembler(), [packet(0, payload, flags=START | END)]) == [payload]


def test_the_sequence_number_wraps():
    receiver = assembler()
    assert fed(receiver, packets(GRAIN, sequence=0xFFFE)) == [GRAIN]
    assert receiver.lost == 0


def test_markers_do_not_matter_where_there_are_flags():
    early = [packet(n, part, flags=flags, marker=True) for n, (part, flags) in enumerate([(GRAIN[:900], START), (GRAIN[900:], END)])]
    none = [packet(2 + n, part, 2000, flags) for n, (part, flags) in enumerate([(GRAIN[:900], START), (GRAIN[900:], END)])]
    assert fed(assembler(), early + none) == [GRAIN, GRAIN]


def test_marker_ends_a_grain_without_flags():
    for receiver in (assembler(), assembler(grain_flags_id=None)):
        assert fed(receiver, [packet(0, GRAIN[:900], flags=None), packet(1, GRAIN[900:], flags=None, marker=True)]) == [GRAIN]


def test_flags_on_the_first_packet_alone():
    assert fed(assembler(), [packet(0, GRAIN[:900], flags=START), packet(1, GRAIN[900:], flags=None, marker=True)]) == [GRAIN]


def test_a_new_timestamp_ends_a_grain_without_flags_and_marker():
    receiver = assembler()
    datagrams = [packet(0, GRAIN[:900], flags=None), packet(1, GRAIN[900:], flags=None), packet(2, GRAIN, 2000, flags=None)]
    assert fed(receiver, datagrams) == [GRAIN]
    assert not receiver.dropped


def test_a_new_timestamp_can_end_two_grains_at_once():
    assert fed(assembler(), [packet(0, GRAIN, flags=START), packet(1, GRAIN[:500], 2000, START | END)]) == [GRAIN, GRAIN[:500]]


def test_the_word_dicm_inside_a_grain_begins_none():
    second = bytes(128) + b"DICM" + b"xy"
    assert fed(assembler(), [packet(0, GRAIN, flags=None), packet(1, second, flags=None, marker=True)]) == [GRAIN + second]


@given(st.integers(2, 6), st.data())
def test_a_grain_with_any_packet_missing_is_dropped_and_the_next_is_whole(pieces, data):
    first, second = packets(GRAIN, 10, 1000, pieces), packets(GRAIN[::-1], 10 + pieces, 2000, pieces)
    missing = data.draw(st.integers(0, len(first) - 1))
    receiver = assembler()
    fed(receiver, packets(b"x", 9, 500, 1))
    assert fed(receiver, first[:missing] + first[missing + 1:] + second) == [GRAIN[::-1]]
    assert receiver.lost == 1 and receiver.dropped.total() == 1


def test_a_late_packet_and_a_duplicate_change_nothing():
    receiver = assembler()
    one = packets(GRAIN)
    assert fed(receiver, [one[0], one[0], one[1], one[0], one[2], one[2]]) == [GRAIN]
    assert receiver.late == 3 and receiver.lost == 0 and not receiver.dropped


def test_a_swap_of_two_packets_drops_their_grain_only():
    receiver = assembler()
    one = packets(GRAIN)
    assert fed(receiver, [one[0], one[2], one[1], *packets(GRAIN, 3, 2000)]) == [GRAIN]
    assert receiver.dropped == {"gap": 1}


def test_joining_in_the_middle_counts_one_headless_grain():
    receiver = assembler()
    assert fed(receiver, packets(GRAIN, pieces=4)[1:] + packets(GRAIN, 4, 2000)) == [GRAIN]
    assert receiver.dropped == {"no_start": 1}


def test_a_grain_begun_twice_is_unfinished():
    receiver = assembler()
    assert fed(receiver, [packet(0, GRAIN[:9], flags=START), packet(1, GRAIN, flags=START | END)]) == [GRAIN]
    assert receiver.dropped == {"unfinished": 1}


def test_the_size_of_a_grain_is_bounded():
    receiver = assembler(bytes_max=1000)
    assert fed(receiver, packets(bytes(1200)) + packets(bytes(1000), 3, 2000)) == [bytes(1000)]
    assert receiver.dropped == {"oversize": 1}


def test_an_endless_grain_takes_no_memory():
    receiver = assembler(bytes_max=1000)
    fed(receiver, [packet(0, bytes(100), flags=START)] + [packet(n, bytes(100)) for n in range(1, 500)])
    assert receiver.dropped == {"oversize": 1} and receiver._open is None


def test_a_grain_of_tiny_packets_is_bounded_by_their_number():
    receiver = assembler()
    most = packets(bytes(GRAIN_PACKETS_MAX), pieces=GRAIN_PACKETS_MAX)
    more = packets(bytes(GRAIN_PACKETS_MAX + 1), GRAIN_PACKETS_MAX, 2000, pieces=GRAIN_PACKETS_MAX + 1)
    assert fed(receiver, most + more) == [bytes(GRAIN_PACKETS_MAX)]
    assert receiver.dropped == {"oversize": 1} and receiver._open is None


def test_empty_packets_take_no_memory_and_begin_and_end_a_grain():
    receiver = assembler()
    fed(receiver, [packet(0, b"", flags=START)] + [packet(n, b"") for n in range(1, 70_000)])
    assert not receiver._open.parts
    assert fed(receiver, [packet(70_000, GRAIN), packet(70_001, b"", flags=END)]) == [GRAIN] and not receiver.dropped


def test_foreign_packets_are_counted_by_reason():
    receiver = assembler()
    fed(receiver, packets(GRAIN))
    assert fed(receiver, [b"", b"\x80", packet(3, GRAIN, payload_type=96), bytes(12), packet(3, GRAIN, ssrc=9, flags=START | END)]) == []
    assert receiver.malformed == {"truncated": 2, "payload_type": 1, "version": 1, "ssrc": 1}
    assert set(receiver.malformed) <= set(grain.PACKET_REASONS)
    assert fed(receiver, packets(GRAIN, 3, 2000)) == [GRAIN] and receiver.lost == 0


def test_a_sender_that_interleaves_never_takes_over():
    receiver, out = assembler(), []
    for n in range(50):
        out += [done.new_session for done in receiver.receive(packet(n, GRAIN, n, START | END), 0)]
        out += [done.new_session for done in receiver.receive(packet(500 + n, GRAIN, n, START | END, ssrc=9), 0)]
    assert out == [True] + [False] * 49 and receiver.sessions == 1 and receiver.malformed == {"ssrc": 50}


def test_a_restarted_sender_is_followed_as_a_new_session():
    receiver = assembler()
    fed(receiver, packets(GRAIN)[:2])
    done = [done for n in range(SESSION_PROOF_PACKETS + 1) for done in receiver.receive(packet(900 + n, GRAIN, n, START | END, ssrc=9), 0)]
    assert [one.new_session for one in done] == [True, False]
    assert receiver.sessions == 2 and receiver.lost == 0 and receiver.dropped == {"session": 1}


def test_a_restart_under_the_same_ssrc_is_followed_at_once_and_is_no_loss():
    receiver = assembler()
    assert fed(receiver, packets(GRAIN, 60_000) + packets(GRAIN, 10, 2000)) == [GRAIN, GRAIN]
    assert fed(receiver, packets(GRAIN, 30_000, 3000)) == [GRAIN]
    assert receiver.lost == 0


def test_a_broken_extension_is_counted_and_the_marker_serves():
    receiver = assembler()
    broken = rtp.build(rtp.RtpHeader(PAYLOAD_TYPE, 0, 1, SSRC, True), GRAIN, {FLAGS_ID: b"\xc0\0\0"})
    broken = broken[:16] + bytes([FLAGS_ID << 4 | 9]) + broken[17:]
    assert fed(receiver, [broken]) == [GRAIN] and receiver.malformed == {"extension": 1}


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 3), st.sampled_from([None, 0, START, END, START | END]), st.booleans(), st.integers(0, 2)), max_size=60))
def test_whatever_comes_a_grain_is_a_run_of_consecutive_packets_of_one_timestamp(steps):
    receiver, sent = assembler(bytes_max=100), []
    for n, (octets, skip, flags, marker, timestamp) in enumerate(steps):
        sent.append((n + skip, timestamp))
        for done in receiver.receive(packet(n + skip, bytes([n]) * octets, timestamp, flags, marker), n):
            numbers, timestamps = zip(*(sent[step] for step, _ in itertools.groupby(done.payload)))
            assert list(numbers) == list(range(numbers[0], numbers[0] + len(numbers)))
            assert set(timestamps) == {done.rtp_timestamp} and len(done.payload) <= 100
    assert set(receiver.dropped) <= set(grain.DROP_REASONS)
