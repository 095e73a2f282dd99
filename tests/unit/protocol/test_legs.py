"""Two paths in an SDP (ST 2022-7, RFC 7104): separate destinations, separate senders, legs that do not match, and what we write ourselves."""
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from appliance.frame import VideoFormat
from appliance.protocol import sdp
from appliance.protocol.sdp import Leg, MetadataFlow, VideoFlow, emit_metadata, emit_video, metadata_flow, video_flow

FILES = Path(__file__).parents[2] / "data" / "sdp"
VIDEO = VideoFlow(format=VideoFormat(1280, 720, rate=Fraction(50)), group="239.1.1.1", port=5004, source_address="10.1.0.9", payload_type=96,
                  second=Leg(group="239.2.1.1", port=5006, source_address="10.2.0.9", payload_type=97))


def read(name):
    return (FILES / f"{name}.sdp").read_text()


@pytest.mark.parametrize("name, second", [
    ("nmos-testing_video-1080i-7", Leg(group="239.50.2.2", port=50150, source_address="192.168.60.38", payload_type=96)),
])
def test_the_legs_of_real_files_are_two_paths_of_one_flow(name, second):
    flow = video_flow(read(name), name)
    assert flow.second == second and not any("DUP" in note or "leg" in note for note in flow.notes)
    assert [leg.group for leg in flow.legs] == [flow.group, second.group]
    assert flow.legs[1] == replace(flow, second=None, **{name: getattr(second, name) for name in ("group", "port", "source_address", "payload_type")})


def sender_by_ssrc(**changed):
    """RFC 7104's own example of two senders to one group, as a video flow."""
    text = read("sdpoker_rfc7104_sep_source").replace("MP2T/90000", "raw/90000\na=fmtp:100 sampling=YCbCr-4:2:2; width=1280; height=720; "
                                                      "exactframerate=50; depth=10; colorimetry=BT709; PM=2110GPM; SSN=ST2110-20:2017; TP=2110TPN")
    for old, new in changed.items():
        text = text.replace(old.replace("_", " "), new)
    return video_flow(text, "x.sdp")


def test_two_senders_to_one_group_are_two_paths_with_an_ssrc_each():
    flow = sender_by_ssrc()
    assert flow.source_address == "198.51.100.1"
    assert flow.second == Leg(group="233.252.0.1", port=30000, source_address="198.51.100.2", payload_type=100, ssrc_difference=1009 ^ 1010)
    assert not any("198.51.100.2" in note for note in flow.notes)


def test_a_duplicate_by_the_same_sender_is_not_a_second_path_and_says_so():
    """Delayed duplication (RFC 7197): both go the same way, and a failure takes both."""
    flow = sender_by_ssrc(**{" 198.51.100.2": ""})
    assert flow.second is None and any("ssrc-group:DUP" in note for note in flow.notes)


def test_legs_with_their_own_ssrc_say_in_which_bits_they_differ():
    text = read("nmos-testing_video-1080i-7")
    first, _, second = text.rpartition("a=ssrc:12345 ")
    assert video_flow(first + "a=ssrc:999 " + second, "x").second.ssrc_difference == 12345 ^ 999


def test_a_leg_that_carries_something_else_is_left_alone_and_named():
    first, _, second = read("nmos-testing_video-1080i-7").rpartition("depth=10")
    flow = video_flow(first + "depth=8" + second, "x.sdp")
    assert flow.second is None
    [note] = [note for note in flow.notes if "SECONDARY" in note]
    assert "the legs differ in format" in note and "10 bit" in note and "8 bit" in note and "line" in note


def test_a_third_leg_is_named():
    text = read("nmos-testing_video-1080i-7").replace("a=group:DUP PRIMARY SECONDARY", "a=group:DUP PRIMARY SECONDARY THIRD")
    section = text[text.index("m=video 50150"):].replace("50150", "50250").replace("SECONDARY", "THIRD")
    flow = video_flow(text + section, "x.sdp")
    assert flow.second.port == 50150 and any("leg THIRD" in note for note in flow.notes)


@pytest.mark.parametrize("flow, emit, parse", [
    (VIDEO, emit_video, video_flow),
    (replace(VIDEO, second=replace(VIDEO.second, payload_type=96, group=VIDEO.group, port=VIDEO.port)), emit_video, video_flow),
    (MetadataFlow(group="239.1.1.2", port=5008, payload_type=104, second=Leg(group="239.2.1.2", port=5008, payload_type=104)), emit_metadata, metadata_flow),
], ids=["video", "video, senders apart", "metadata"])
def test_what_is_written_reads_back(flow, emit, parse):
    text = emit(flow)
    found = parse(text, "x.sdp")
    assert replace(found, notes=(), ptp=None) == replace(flow, notes=(), ptp=None)
    assert text.count("m=") == text.count("a=mid:") == 2 and f"a=group:DUP {' '.join(sdp.PATHS)}" in text
    assert "a=mid" not in emit(replace(flow, second=None))


def test_as_many_frames_may_be_open_as_the_paths_may_be_apart():
    assert replace(VIDEO, second=None).frames_open(10_000_000) == 2
    assert [VIDEO.frames_open(skew_ms * 1_000_000) for skew_ms in (1, 10, 20, 21, 50)] == [3, 3, 3, 4, 5]
