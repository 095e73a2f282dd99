"""RTCP against aiortc's independent writer and reader."""
import struct

import pytest
from aiortc import rtp
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from appliance.protocol import rtcp

SSRC, VIEWER = 0x1234_5678, 9
numbers32 = st.integers(0, 2**32 - 1)


def report_block(ssrc=SSRC, lost=0, last_report=0, delay=0):
    return rtp.RtcpReceiverInfo(ssrc=ssrc, fraction_lost=7, packets_lost=lost, highest_sequence=99, jitter=450, lsr=last_report, dlsr=delay)


@given(st.integers(-(1 << 23), (1 << 23) - 1), numbers32, numbers32)
def test_a_report_about_our_source_is_read_and_others_are_passed_over(lost, last_report, delay):
    compound = bytes(rtp.RtcpRrPacket(ssrc=VIEWER, reports=[report_block(ssrc=1), report_block(SSRC, lost, last_report, delay)]))
    assert rtcp.parse(compound, SSRC).reports == [rtcp.ReceiverReport(7, lost, 99, 450, last_report, delay)]


@given(st.sets(st.integers(0, 65535), min_size=1, max_size=60))
def test_every_lost_packet_of_a_nack_is_named(lost):
    compound = bytes(rtp.RtcpRtpfbPacket(fmt=1, ssrc=VIEWER, media_ssrc=SSRC, lost=sorted(lost)))
    assert set(rtcp.parse(compound, SSRC).lost) == lost
    assert rtcp.parse(compound, SSRC + 1).lost == []


def test_a_nack_runs_over_the_end_of_the_numbering():
    compound = struct.pack("!BBHIIHH", 0x81, 205, 3, VIEWER, SSRC, 65535, 0b11)
    assert rtcp.parse(compound, SSRC).lost == [65535, 0, 1]


def test_pli_and_fir_for_our_source_ask_for_a_keyframe():
    pli = bytes(rtp.RtcpPsfbPacket(fmt=1, ssrc=VIEWER, media_ssrc=SSRC))
    fir = bytes(rtp.RtcpPsfbPacket(fmt=4, ssrc=VIEWER, media_ssrc=0, fci=struct.pack("!IIII", 1, 0, SSRC, 0)))
    assert rtcp.parse(pli, SSRC).keyframe and rtcp.parse(fir, SSRC).keyframe
    assert not rtcp.parse(pli, 1).keyframe and not rtcp.parse(fir, 2).keyframe


@given(st.integers(0, 2**40), st.lists(numbers32, max_size=20))
def test_an_estimate_is_read_when_it_is_about_our_source(bitrate, others):
    def estimate(sources):
        return bytes(rtp.RtcpPsfbPacket(fmt=15, ssrc=VIEWER, media_ssrc=0, fci=rtp.pack_remb_fci(bitrate, sources)))

    read, sources = rtp.unpack_remb_fci(rtp.pack_remb_fci(bitrate, [SSRC]))
    assert rtcp.parse(estimate([*others, SSRC]), SSRC).estimate_bps == read
    assert rtcp.parse(estimate([source for source in others if source != SSRC]), SSRC).estimate_bps is None


def test_the_largest_estimate_is_a_number_and_other_application_feedback_is_passed_over():
    largest = struct.pack("!BBHII4sI", 0x8F, 206, 5, VIEWER, 0, b"REMB", 0x01FF_FFFF) + SSRC.to_bytes(4, "big")
    assert rtcp.parse(largest, SSRC).estimate_bps == (2**18 - 1) << 63
    assert rtcp.parse(largest.replace(b"REMB", b"REMC"), SSRC).estimate_bps is None


@pytest.mark.parametrize("entries", [b"REMB", b"REMB\1\0\0\1", b"REMB\xff\0\0\1" + bytes(4 * 254)])
def test_an_estimate_for_more_sources_than_it_names_is_refused(entries):
    with pytest.raises(ProtocolError):
        rtcp.parse(bytes(rtp.RtcpPsfbPacket(fmt=15, ssrc=VIEWER, media_ssrc=0, fci=entries)), SSRC)


@given(st.binary(max_size=64))
def test_any_application_feedback_gives_an_estimate_nothing_or_the_reason_rtcp(octets):
    try:
        estimate = rtcp.parse(bytes(rtp.RtcpPsfbPacket(fmt=15, ssrc=VIEWER, media_ssrc=0, fci=b"REMB" + octets + bytes(-len(octets) % 4))), SSRC).estimate_bps
        assert estimate is None or 0 <= estimate < 1 << 81
    except ProtocolError as refusal:
        assert refusal.reason == "rtcp"


def test_a_compound_is_read_to_its_end():
    compound = bytes(rtp.RtcpRrPacket(ssrc=VIEWER, reports=[report_block()])) + bytes(rtp.RtcpPsfbPacket(fmt=1, ssrc=VIEWER, media_ssrc=SSRC))
    feedback = rtcp.parse(compound, SSRC)
    assert len(feedback.reports) == 1 and feedback.keyframe


@pytest.mark.parametrize("compound", [b"\x81", b"\x41\xc9\0\0", b"\x81\xc9\0\7" + bytes(8), b"\x82\xc9\0\7" + bytes(28)])
def test_a_packet_that_lies_about_itself_is_refused(compound):
    with pytest.raises(ProtocolError) as refusal:
        rtcp.parse(compound, SSRC)
    assert refusal.value.reason == "rtcp"


@given(st.binary(max_size=200))
def test_any_octets_give_feedback_or_the_reason_rtcp(octets):
    try:
        assert all(0 <= number < 1 << 16 for number in rtcp.parse(octets, SSRC).lost)
    except ProtocolError as refusal:
        assert refusal.reason == "rtcp"


def test_a_sender_report_ties_the_rtp_time_to_the_clock_and_names_the_source():
    compound = rtcp.sender_report(SSRC, ntp := rtcp.ntp_time(1_700_000_000_500_000_000), 4_000_000_000, 2**32 + 5, 10, b"worker")
    report, description = rtp.RtcpPacket.parse(compound)
    assert (report.ssrc, report.sender_info) == (SSRC, rtp.RtcpSenderInfo(ntp, 4_000_000_000, 5, 10))
    assert ntp == (1_700_000_000 + 2_208_988_800 << 32) + (1 << 31)
    assert description.chunks == [rtp.RtcpSourceInfo(SSRC, [(1, b"worker")])]


def test_the_round_trip_is_what_neither_the_viewer_nor_the_clock_kept():
    sent, delay = rtcp.ntp_time(10_000_000_000), 1 << 15  # the viewer answered after half a second
    report = rtcp.parse(bytes(rtp.RtcpRrPacket(ssrc=VIEWER, reports=[report_block(last_report=sent >> 16 & 0xFFFF_FFFF, delay=delay)])), SSRC).reports[0]
    assert report.round_trip_ns(rtcp.ntp_time(10_520_000_000)) == pytest.approx(20_000_000, abs=20_000)
    assert report.round_trip_ns(rtcp.ntp_time(10_100_000_000)) is None


def test_without_a_report_of_ours_there_is_no_round_trip():
    assert rtcp.ReceiverReport(0, 0, 0, 0, 0, 0).round_trip_ns(1 << 40) is None


def test_a_reference_time_is_heard_and_answered():
    heard = struct.pack("!BBHIBBHQ", 0x80, 207, 4, VIEWER, 4, 0, 2, 0x0001_0203_0405_0607)
    assert rtcp.parse(heard, SSRC).reference_times == [(VIEWER, 0x0203_0405)]
    assert rtcp.last_reference_times(SSRC, [(VIEWER, 0x0203_0405, 77)]) == struct.pack("!BBHIBBHIII", 0x80, 207, 5, SSRC, 5, 0, 3, VIEWER, 0x0203_0405, 77)
