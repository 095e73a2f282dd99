"""Sender timing against pyst2110's reading of ST 2110-21, and against what the reference tables say."""
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pyst2110.timing as independent
import pytest
from pyst2110.sdp import SdpVideo

from appliance.frame import VideoFormat
from appliance.protocol import timing

P720 = VideoFormat(1280, 720, rate=Fraction(50))
FORMATS = {
    "720p50": P720,
    "720p59.94": replace(P720, rate=Fraction(60000, 1001)),
    "1080p59.94": VideoFormat(1920, 1080, rate=Fraction(60000, 1001)),
    "1080i59.94": VideoFormat(1920, 1080, rate=Fraction(30000, 1001), interlaced=True),
    "1080i50": VideoFormat(1920, 1080, rate=Fraction(25), interlaced=True),
    "576i25": VideoFormat(720, 576, rate=Fraction(25), interlaced=True),
    "487i29.97": VideoFormat(720, 487, rate=Fraction(30000, 1001), interlaced=True),
    "2160p50": VideoFormat(3840, 2160, rate=Fraction(50)),
}
PACKETS = {"2160p50": 17_280, "576i25": 750, "487i29.97": 650}
NUMBER = 1_700_000_000 * 50 + 7


def described(format, sender_type, maxudp=1460):
    return SdpVideo(format.width, format.height, format.rate, format.depth, format.sampling, interlaced=format.interlaced, max_udp=maxudp,
                    sender_type=sender_type)


@pytest.mark.parametrize("sender_type", timing.SENDER_TYPES)
@pytest.mark.parametrize("name", FORMATS)
def test_schedules_and_limits_are_those_that_pyst2110_reads(name, sender_type):
    format, packets = FORMATS[name], PACKETS.get(name, 4320)
    fields = 2 if format.interlaced else 1
    for maxudp in (1460, 8960):
        video = described(format, sender_type, maxudp)
        theirs, bound = independent.read_schedule(video, packets), independent.sender_limits(video, packets)
        ours = timing.schedule(format, sender_type)
        assert ours.rate == fields / theirs.t_frame and ours.active == theirs.r_active
        assert ours.offset_ns == int(theirs.tr_offset * 10**9)
        assert 1 / (ours.rate * (packets // fields)) * ours.active == theirs.t_rs
        assert timing.limits(format, packets // fields, sender_type, maxudp) == timing.Limits(bound.cmax, bound.vrx_full)


def test_the_numbers_of_720p50_are_those_that_engineers_know():
    assert timing.schedule(P720, timing.NARROW).offset_ns == 746_666
    assert timing.limits(P720, 2160, timing.NARROW) == timing.Limits(4, 8)
    assert timing.limits(P720, 2160, timing.WIDE) == timing.Limits(16, 720)
    assert timing.schedule(P720, timing.NARROW, 500).offset_ns == 500_000


def sent(format, packets, pictures, offset_ns, spacing_ns, burst=1):
    """Arrivals of a sender that starts each picture `offset_ns` after its time and sends `burst` packets every `burst` spacings."""
    rate = format.rate
    for picture in range(pictures):
        began_ns, ticks = int((NUMBER + picture) / rate * 10**9), int((NUMBER + picture) * 90_000 / rate) % 2**32
        for packet in range(packets):
            yield picture * packets + packet, ticks, began_ns + offset_ns + int(packet // burst * burst * spacing_ns), packet == packets - 1


def measured(format, sender_type, arrivals, **clock):
    meter = timing.Meter(timing.schedule(format, sender_type, **clock))
    for sequence, ticks, arrival_ns, _ in arrivals:
        meter.packet(sequence, ticks, arrival_ns)
    return meter.take()


@pytest.mark.parametrize("burst", [1, 3, 12, 40])
@pytest.mark.parametrize("offset_ns", [500_000, 746_667, 900_000])
@pytest.mark.parametrize("sender_type", timing.SENDER_TYPES)
def test_levels_and_verdict_are_those_that_pyst2110_measures(sender_type, offset_ns, burst):
    packets, pictures = 216, 6
    spacing_ns = 20_000_000 * (0.955 if sender_type == timing.NARROW else 0.99) / packets
    arrivals = list(sent(P720, packets, pictures, offset_ns, spacing_ns, burst))
    ours = measured(P720, sender_type, arrivals)
    # The meter knows the packets of a picture from its third on; the independent one is given what it then measured.
    kept = [arrival for arrival in arrivals if arrival[0] >= 3 * packets]
    theirs = independent.measure(described(P720, sender_type), packets, np.array([arrival[2] for arrival in kept]),
                                 np.array([arrival[3] for arrival in kept]), origin="first", previous_marker=True)
    assert ours["packets"] == theirs.packets and ours["picture_packets"] == packets
    assert ours["vrx"] == (theirs.vrx_min, theirs.vrx_max)
    assert abs(ours["c_most"] - theirs.c_inst_max) <= 1  # the two grids begin at different packets
    verdict = timing.verdict(ours, sender_type, P720)
    words = {"": timing.NOT_COMPLIANT} | dict(zip(timing.SENDER_TYPES, timing.VERDICTS))
    assert verdict == words[theirs.profile]


def test_first_packets_latency_and_rtp_times_are_told():
    found = measured(P720, timing.NARROW, sent(P720, 216, 5, 700_000, 85_000))
    assert found["first_packet_ns"] == (700_000, 700_000) and found["rtp_offset_ticks"] == (0, 0) and found["rtp_delta_ticks"] == (1800, 1800)
    assert found["counted_packets"] == (216, 216) and found["spacing_ns"] == (85_000, 85_000, 85_000, 85_000)
    assert 688_000 <= found["latency_ns"][0] <= found["latency_ns"][1] <= 700_000


def test_without_ptp_a_constant_phase_is_forgiven():
    late = list(sent(P720, 216, 6, 900_000, 88_500))
    assert timing.verdict(measured(P720, timing.NARROW, late), timing.NARROW, P720) == timing.NOT_COMPLIANT
    assert timing.verdict(measured(P720, timing.NARROW, late, by_epoch=False), timing.NARROW, P720) == "narrow"


def test_who_bunches_more_than_the_sdp_promises_is_not_of_its_type():
    found = measured(P720, timing.WIDE, sent(P720, 2160, 5, 746_667, 9_240, 12))
    most = found["c_most"]
    assert timing.verdict(found, timing.WIDE, P720) == timing.verdict(found, timing.WIDE, P720, c_promised=most) == "wide"
    assert timing.verdict(found, timing.WIDE, P720, c_promised=most - 1) == timing.NOT_COMPLIANT
    smooth = measured(P720, timing.NARROW, sent(P720, 216, 8, 700_000, 88_000))
    assert [timing.verdict(smooth, timing.NARROW, P720, c_promised=promised) for promised in (1, 0)] == ["narrow", "wide"]
    assert timing.limits(P720, 216, timing.NARROW, c_promised=2).c_most == 2 and timing.limits(P720, 216, timing.NARROW, c_promised=9).c_most == 4


def test_losses_do_not_look_like_bad_timing():
    arrivals = [arrival for number, arrival in enumerate(sent(P720, 216, 8, 700_000, 88_000)) if number % 97 not in (0, 50) and number != 216 * 5]
    found = measured(P720, timing.NARROW, arrivals)
    assert found["picture_packets"] == 216 and timing.verdict(found, timing.NARROW, P720) == "narrow"


def test_nothing_is_judged_that_was_not_measured():
    assert timing.verdict(measured(P720, timing.WIDE, []), timing.WIDE, P720) == timing.NOT_MEASURED
    assert timing.verdict(measured(P720, timing.WIDE, sent(P720, 216, 2, 0, 85_000)), timing.WIDE, P720) == timing.NOT_MEASURED


def test_an_sdp_without_tp_is_judged_by_the_strictest_type_of_the_linear_schedule():
    smooth, bursts = (measured(P720, None, sent(P720, 2160, 5, 746_667, 9_240, burst)) for burst in (1, 12))
    assert timing.verdict(smooth, None, P720) == "narrow_linear" and timing.verdict(bursts, None, P720) == "wide"
