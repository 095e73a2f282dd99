"""The timing kernel against its readable twin: the same packets give the same report, whatever the network does with them."""
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.frame import VideoFormat
from appliance.protocol import timing
from cext.timing import Timing

FORMATS = (VideoFormat(1280, 720, rate=Fraction(50)), VideoFormat(1920, 1080, rate=Fraction(60000, 1001)),
           VideoFormat(1920, 1080, rate=Fraction(30000, 1001), interlaced=True), VideoFormat(1920, 1080, rate=Fraction(25), interlaced=True, segmented=True))
EPOCH_NS = 1_700_000_000 * 10**9


@st.composite
def arrivals(draw):
    """(sequence, timestamp, arrival, second) of some pictures as a network might bring them."""
    rate, packets = draw(st.sampled_from([Fraction(50), Fraction(60000, 1001), Fraction(120)])), draw(st.integers(2, 40))
    first, now_ns = draw(st.integers(0, 2**32 - 1)), EPOCH_NS + draw(st.integers(0, 10**9))
    found = []
    for picture in range(draw(st.integers(2, 6))):
        ticks = int((EPOCH_NS // 10**9 + picture / rate) * 90_000) + draw(st.integers(-2, 2))
        for packet in range(packets + draw(st.sampled_from([0, 0, 0, 1]))):
            now_ns += draw(st.sampled_from([0, 1, 7, 900, 9_000, 20_000, 400_000, -5, 2_000_000_000]) if draw(st.booleans()) else st.integers(0, 30_000))
            found.append(((first + len(found)) % 2**32, ticks % 2**32, now_ns, draw(st.booleans()) if packet == 0 else found[-1][3]))
        now_ns += draw(st.integers(0, 1_000_000))
    for _ in range(draw(st.integers(0, 4))):  # lost, repeated and reordered
        place = draw(st.integers(0, len(found) - 1))
        found[place:place + 1] = draw(st.sampled_from([[], [found[place]] * 2, [found[place - 1]]]))
        if not found:
            break
    return found


@settings(max_examples=150, deadline=None)
@given(arrivals(), st.sampled_from(FORMATS), st.sampled_from(timing.SENDER_TYPES), st.booleans(), st.integers(0, 2**32 - 1))
def test_the_kernel_measures_what_the_readable_meter_does(packets, format, sender_type, by_epoch, offset):
    schedule = timing.schedule(format, sender_type, mediaclk_offset=offset, by_epoch=by_epoch)
    kernel, meter = Timing(schedule), timing.Meter(schedule)
    for number, (sequence, timestamp, arrival_ns, second) in enumerate(packets):
        kernel.packet(sequence, timestamp, arrival_ns, second)
        meter.packet(sequence, timestamp, arrival_ns, second)
        if number == len(packets) // 2:
            assert without_percentile(kernel.take()) == without_percentile(meter.take())
    assert_alike(kernel.take(), meter.take())


def without_percentile(taken):
    spacing = taken["spacing_ns"]
    return taken | {"spacing_ns": spacing and (spacing[0], spacing[1], spacing[3])}


def assert_alike(kernel, meter):
    """Equal but for the percentile, which the kernel knows as the end of a bucket: at most an eighth above."""
    assert without_percentile(kernel) == without_percentile(meter)
    if meter["spacing_ns"]:
        assert meter["spacing_ns"][2] <= kernel["spacing_ns"][2] <= meter["spacing_ns"][2] * 9 / 8 + 1
