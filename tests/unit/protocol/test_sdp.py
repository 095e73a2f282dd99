"""SDP files: real ones accepted or refused by name of line and reason, real-world deviations put up with, text written and read back."""
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import SdpError
from appliance.frame import VideoFormat
from appliance.protocol import sdp, session

FILES = Path(__file__).parents[2] / "data" / "sdp"

VIDEO = """v=0
o=- 1 1 IN IP4 192.168.10.20
s=OR3 endoscope
t=0 0
m=video 5004 RTP/AVP 96
c=IN IP4 239.10.10.1/32
a=source-filter: incl IN IP4 239.10.10.1 192.168.10.20
a=rtpmap:96 raw/90000
a=fmtp:96 sampling=YCbCr-4:2:2; width=1280; height=720; exactframerate=50; depth=10; TCS=SDR; colorimetry=BT709; PM=2110GPM; SSN=ST2110-20:2017; TP=2110TPN
a=ts-refclk:ptp=IEEE1588-2008:39-A7-94-FF-FE-07-CB-D0:127
a=mediaclk:direct=0
"""
METADATA = """m=application 5006 RTP/AVP 104
c=IN IP4 239.10.10.2/32
a=rtpmap:104 dicom/90000
a=extmap:1 urn:x-nmos:rtp-hdrext:origin-timestamp
a=extmap:3/sendonly urn:x-nmos:rtp-hdrext:flow-id
a=extmap:5 urn:x-nmos:rtp-hdrext:grain-flags
a=ts-refclk:ptp=IEEE1588-2008:39-A7-94-FF-FE-07-CB-D0:127
a=mediaclk:direct=1876655126 rate=90000
"""
SECOND_VIDEO = VIDEO[VIDEO.index("m="):].replace("239.10.10.1", "239.20.10.1").replace("192.168.10.20", "192.168.20.20")


def video(text: str = VIDEO) -> sdp.VideoFlow:
    return sdp.video_flow(text, "theatre.sdp")


def refusal(text: str, read=sdp.video_flow) -> str:
    with pytest.raises(SdpError) as caught:
        read(text, "theatre.sdp")
    return str(caught.value)


# ---- real files -----------------------------------------------------------------------------------------------------------------

# file -> (line named in the refusal, words of the reason)
REFUSED = {
    "bcp-006-01_jpeg-xs": (9, "JPEG XS"),
    "is-05_Behaviour_-_RTP_Transport_Type.md_1": (5, "no sampling, width, height, depth"),
    "is-05_Behaviour_-_RTP_Transport_Type.md_2": (5, "no sampling, width, height, depth"),
    "is-05_Behaviour_-_RTP_Transport_Type.md_3": (8, "MPEG transport stream"),
    "is-05_Behaviour_-_RTP_Transport_Type.md_4": (8, "MPEG transport stream"),
    "is-05_Behaviour_-_RTP_Transport_Type.md_5": (9, "MPEG transport stream"),
    "is-05_Behaviour_-_RTP_Transport_Type.md_7": (5, "no sampling, width, height, depth"),
    "nmos-cpp_sdp_temporal_redundancy_test_cpp_00": (8, "MPEG transport stream"),
    "nmos-cpp_sdp_test_cpp_04": (5, "a=rtpmap:96"),
    "nmos-cpp_sdp_test_cpp_06": (6, "no sampling, width, height, depth"),
    "nmos-cpp_sdp_utils_test_cpp_00": (5, "no sampling, width, height, depth"),
    "nmos-cpp_sdp_utils_test_cpp_01": (8, "H.263"),
    "nmos-cpp_sdp_utils_test_cpp_03": (8, "MPEG transport stream"),
    "nmos-cpp_sdp_utils_test_cpp_04": (9, "MPEG transport stream"),
    "nmos-cpp_sdp_utils_test_cpp_05": (5, "no sampling, width, height, depth"),
    "nmos-cpp_video_jxsv_test_cpp_00": (11, "JPEG XS"),
    "nmos-in-stream-id-timing_sdp_st291_anc": (8, "ancillary data (ST 2110-40)"),
    "nmos-testing_dummy-sdp": (9, "H.264"),
    "pyst2110_test_sdp_00": (9, "no depth"),
    "sdpoker_invalid_bad-line-format": (6, "no sampling, width, height, depth"),
    "sdpoker_invalid_missing-media": (4, "nothing more"),
    "sdpoker_invalid_missing-v0": (1, "v=1"),
    "sdpoker_rfc7104_sep_dest": (9, "MPEG transport stream"),
    "sdpoker_rfc7104_sep_source": (8, "MPEG transport stream"),
    "sdpoker_st2022-6_v2": (9, "ST 2022-6"),
    "sdpoker_st2022-8": (9, "ST 2022-6"),
    "sdpoker_st2110-22": (10, "JPEG XS"),
    "sdpoker_st2110-31": (9, "AES3 audio (ST 2110-31)"),
    "sdpoker_st2110-40": (9, "ancillary data (ST 2110-40)"),
}
ACCEPTED = {"pyst2110_test_receive_slice_00": (1920, 1080, 10, Fraction(60000, 1001), "239.100.0.1", 20000, "192.168.100.2")}
# What the interlaced files describe.
INTERLACED = {
    "amwa-is-05_bulk-receiver-post_1": ("232.250.98.80", 5010, 103, Fraction(25), "172.29.226.25", 1876655126),
    "nmos-cpp_sdp_test_cpp_00": ("239.22.142.1", 50020, 96, Fraction(30000, 1001), "192.168.9.142", 0),
    "nmos-in-stream-id-timing_sdp_rfc4175_10bit_1080i50": ("232.121.83.127", 5000, 96, Fraction(25), "172.29.82.50", 1119082333),
    "nmos-testing_video-1080i-7": ("239.50.2.2", 50050, 96, Fraction(25), "192.168.60.34", 0),
    "sdpoker_invalid_missing-ts-refclk": ("232.80.177.113", 27346, 97, Fraction(25), "172.29.80.65", 0),
    "sdpoker_st2110-20": ("232.80.177.113", 27346, 97, Fraction(25), "172.29.80.65", 0),
}


def text_of(name: str) -> str:
    return (FILES / f"{name}.sdp").read_bytes().decode()


def test_every_file_has_an_expectation():
    assert {path.stem for path in FILES.glob("*.sdp")} == {*REFUSED, *ACCEPTED, *INTERLACED}


@pytest.mark.parametrize("name", REFUSED)
def test_real_files_are_refused_with_line_and_reason(name):
    line, reason = REFUSED[name]
    with pytest.raises(SdpError) as caught:
        sdp.video_flow(text_of(name), name)
    assert caught.value.where.startswith(f"{name}, line {line} (")
    assert reason in str(caught.value)


@pytest.mark.parametrize("name", ACCEPTED)
def test_real_files_are_accepted_with_their_geometry(name):
    flow = sdp.video_flow(text_of(name), name)
    shown = flow.format
    assert (shown.width, shown.height, shown.depth, shown.rate, flow.group, flow.port, flow.source_address) == ACCEPTED[name]


@pytest.mark.parametrize("name", INTERLACED)
def test_interlaced_files_are_accepted_and_read_in_full(name):
    flow = sdp.video_flow(text_of(name), name)
    assert (flow.group, flow.port, flow.payload_type, flow.format.rate, flow.source_address, flow.mediaclk_offset) == INTERLACED[name]
    assert flow.format == VideoFormat(1920, 1080, rate=flow.format.rate, interlaced=True)


def test_extension_ids_of_a_real_file_are_read():
    parsed = sdp.parse_session(text_of("amwa-is-05_bulk-receiver-post_1"), "x")
    ids = sdp.read_video(parsed, parsed.media[0]).extension_ids
    assert ids["urn:x-nmos:rtp-hdrext:grain-flags"] == 5 and ids["urn:x-nmos:rtp-hdrext:sync-timestamp"] == 7 and len(ids) == 7


# ---- what a complete file says --------------------------------------------------------------------------------------------------


def test_a_complete_video_file_is_read_in_full():
    assert video() == sdp.VideoFlow(
        group="239.10.10.1", port=5004, source_address="192.168.10.20", payload_type=96, ptp="IEEE1588-2008:39-A7-94-FF-FE-07-CB-D0:127",
        title="OR3 endoscope", format=VideoFormat(1280, 720), sender_type="2110TPN")


@pytest.mark.parametrize("new, read, noted", [
    ("", (None, None), False), ("; TP=2110TPW; TROFF=500", ("2110TPW", 500), False), ("; TP=2110tpnl", ("2110TPNL", None), False), ("; TP=fast; TROFF=-3", (None, None), True)])
def test_the_senders_timing_is_read(new, read, noted):
    flow = video(VIDEO.replace("; TP=2110TPN", new))
    assert (flow.sender_type, flow.offset_us) == read
    assert any("TP=FAST" in note for note in flow.notes) == any("TROFF=-3" in note for note in flow.notes) == noted


@pytest.mark.parametrize("new, pixel_aspect, c_most, noted", [
    ("; PAR=16:11; CMAX=3", Fraction(16, 11), 3, ""), ("; PAR=8:9", Fraction(8, 9), None, ""), ("; par = 1:1", 1, None, ""),
    ("; PAR=0:3; CMAX=many", 1, None, "PAR=0:3 is no shape"), ("; PAR=9:1; CMAX=-1", 1, None, "CMAX=-1 is no whole number of packets")])
def test_the_pixels_shape_and_the_promised_bunching_are_read(new, pixel_aspect, c_most, noted):
    flow = video(VIDEO.replace("; TP=2110TPN", new))
    assert (flow.format.pixel_aspect, flow.c_most) == (pixel_aspect, c_most) and noted in "".join(flow.notes)
    again = sdp.video_flow(sdp.emit_video(flow), "x.sdp")
    assert (again.format, again.c_most) == (flow.format, flow.c_most)


def test_metadata_beside_video_in_one_file_is_told_apart():
    both = VIDEO + METADATA
    flow = sdp.metadata_flow(both, "x")
    assert (flow.group, flow.port, flow.payload_type, flow.rate_hz, flow.source_address) == ("239.10.10.2", 5006, 104, 90_000, None)
    assert flow.mediaclk_offset == 1876655126
    assert flow.extension_ids == {"urn:x-nmos:rtp-hdrext:origin-timestamp": 1, "urn:x-nmos:rtp-hdrext:flow-id": 3, "urn:x-nmos:rtp-hdrext:grain-flags": 5}
    assert "dicom: this flow is DICOM-RTV metadata" in "".join(video(both).notes)
    assert replace(video(both), notes=()) == video()


def test_audio_is_read():
    flow = sdp.audio_flow("m=audio 5008 RTP/AVP 97\nc=IN IP4 239.1.1.1\na=rtpmap:97 L24/48000/2\na=ptime:0.125\n", "x")
    assert (flow.channels, flow.depth, flow.rate_hz, flow.packet_us) == (2, 24, 48_000, 125)


def test_a_metadata_flow_without_grain_flags_says_so():
    assert any("grain flags" in note for note in sdp.metadata_flow(METADATA.replace("grain-flags", "other"), "x").notes)


# ---- deviations of real senders (each must change nothing but what it says) -------------------------------------------------------

SAME = {
    "CRLF line ends": (lambda text: text.replace("\n", "\r\n")),
    "no newline at the end": str.rstrip,
    "byte order mark": (lambda text: "\ufeff" + text),
    "blank lines and leading blanks": (lambda text: text.replace("\n", "\n\n  ")),
    "no o= and t=": (lambda text: text.replace("o=- 1 1 IN IP4 192.168.10.20\n", "").replace("t=0 0\n", "")),
    "source filter without blank": (lambda text: text.replace("source-filter: incl", "source-filter:incl")),
    "IPV4": (lambda text: text.replace("c=IN IP4", "c=IN IPV4")),
    "TTL 96": (lambda text: text.replace("239.10.10.1/32", "239.10.10.1/96")),
    "no TTL": (lambda text: text.replace("239.10.10.1/32", "239.10.10.1")),
    "tsrefclk": (lambda text: text.replace("ts-refclk", "tsrefclk")),
    "lower-case grandmaster": (lambda text: text.replace("39-A7-94-FF-FE-07-CB-D0", "39-a7-94-ff-fe-07-cb-d0")),
    "quoted SSN": (lambda text: text.replace("SSN=ST2110-20:2017", 'SSN="ST2110-20:2017"')),
    "SSN of 2021": (lambda text: text.replace(":2017", ":2021")),
    "no SSN, PM, TCS": (lambda text: text.replace("; PM=2110GPM; SSN=ST2110-20:2017", "").replace("TCS=SDR; ", "")),
    "trailing semicolon and blanks": (lambda text: text.replace("TP=2110TPN", "TP=2110TPN;   ")),
    "no blank after semicolons": (lambda text: text.replace("; ", ";")),
    "blanks around =": (lambda text: text.replace("width=1280", "width = 1280")),
    "unknown parameters": (lambda text: text.replace("TP=2110TPN", "TP=2110TPN; FOO=bar; BAZ")),
    "interlace=0": (lambda text: text.replace("TP=2110TPN", "TP=2110TPN; interlace=0")),
    "sampling in lower case": (lambda text: text.replace("YCbCr-4:2:2", "ycbcr-4:2:2")),
    "revision of the colorimetry": (lambda text: text.replace("BT709", "BT709-2")),
    "unknown attributes": (lambda text: text + "a=recvonly\na=x-foo:96 bar\nb=AS:1\n"),
    "two ports": (lambda text: text.replace("5004", "5004/2")),
    "continued line": (lambda text: text.replace("depth=10; ", "\\\ndepth=10; ")),
    "rate that reduces": (lambda text: text.replace("exactframerate=50", "exactframerate=50000/1000")),
}


@pytest.mark.parametrize("deviation", SAME)
def test_deviation_changes_nothing(deviation):
    changed = SAME[deviation](VIDEO)
    assert changed != VIDEO
    assert video(changed) == video()


def test_session_level_address_clock_and_filter_are_used():
    lines = VIDEO.splitlines()
    moved = [line for line in lines if line.startswith(("c=", "a=source", "a=ts", "a=mediaclk"))]
    head = [line for line in lines[:4]] + moved
    assert video("\n".join(head + [line for line in lines[4:] if line not in moved])) == video()


NOTED = {
    "two sources": ("239.10.10.1 192.168.10.20", "239.10.10.1 192.168.10.20 192.168.10.21", "192.168.10.21"),
    "no clock": ("a=ts-refclk:ptp=IEEE1588-2008:39-A7-94-FF-FE-07-CB-D0:127\n", "", "ts-refclk"),
    "no frame rate": ("exactframerate=50; ", "", "25 frames a second"),
    "no colorimetry": ("colorimetry=BT709; ", "", "BT709 is assumed"),
    "payload type not in the m= line": ("RTP/AVP 96", "RTP/AVP 100", "another payload type"),
    "excluding filter": ("incl", "excl", "not used"),
    "strange media clock": ("direct=0", "foo", "media clock"),
}


@pytest.mark.parametrize("case", NOTED)
def test_what_is_put_up_with_is_noted(case):
    old, new, words = NOTED[case]
    assert words in " ".join(video(VIDEO.replace(old, new)).notes)
    assert video().notes == ()


@pytest.mark.parametrize(("text", "rate"), [
    ("25", Fraction(25)), ("60000/1001", Fraction(60000, 1001)), ("24995/1000", Fraction(4999, 200)), ("60000/1002", Fraction(60000, 1002)),
])
def test_exact_frame_rates(text, rate):
    assert video(VIDEO.replace("exactframerate=50", f"exactframerate={text}")).format.rate == rate


@pytest.mark.parametrize(("text", "rate"), [
    ("29.97", Fraction(30000, 1001)), ("59.94", Fraction(60000, 1001)), ("23.976", Fraction(24000, 1001)), ("23.98", Fraction(24000, 1001)),
    ("119.88", Fraction(120000, 1001)), ("25.0", Fraction(25)), ("12.5", Fraction(25, 2)), ("50", Fraction(50)),
])
def test_decimal_frame_rates_of_older_senders(text, rate):
    assert video(VIDEO.replace("exactframerate=50; ", "") + f"a=framerate:{text}\n").format.rate == rate


def test_other_values_arrive():
    text = (VIDEO.replace("depth=10", "depth=8").replace("2110GPM", "2110BPM").replace("TCS=SDR", "TCS=HLG; RANGE=FULL; MAXUDP=8960")
            .replace("BT709", "BT601-5").replace("127\n", "0\na=ssrc:4294967295 cname:x\n"))
    flow = video(text)
    assert flow.format == VideoFormat(1280, 720, depth=8, packing="2110BPM", transfer="HLG", range="FULL", colorimetry="BT601")
    assert (flow.maxudp, flow.ssrc) == (8960, 4294967295)


def test_unicast_and_ipv6_addresses_are_read():
    assert video(VIDEO.replace("239.10.10.1", "10.0.0.7")).group == "10.0.0.7"
    six = VIDEO.replace("IN IP4 239.10.10.1/32", "IN IP6 ff3e::8000:1").replace("IP4 239.10.10.1 192.168.10.20", "IP6 ff3e::8000:1 2001:db8::1")
    assert (video(six).group, video(six).source_address) == ("ff3e::8000:1", "2001:db8::1")


def test_a_filter_for_another_group_is_not_used():
    assert video(VIDEO.replace("incl IN IP4 239.10.10.1", "incl IN IP4 239.10.10.9")).source_address is None
    assert video(VIDEO.replace("incl IN IP4 239.10.10.1", "incl IN IP4 *")).source_address == "192.168.10.20"


# ---- which flow -----------------------------------------------------------------------------------------------------------------


def test_a_dup_group_that_names_a_missing_leg_is_received():
    assert video(VIDEO.replace("t=0 0\n", "t=0 0\na=group:DUP one two\n") + "a=mid:one\n").group == "239.10.10.1"


def test_two_different_videos_are_not_chosen_between():
    said = refusal(VIDEO + SECOND_VIDEO)
    assert "line 5 (m=video 5004 RTP/AVP 96), line 12 (m=video 5004 RTP/AVP 96)" in said and "delete the others" in said


def test_a_video_that_cannot_be_received_beside_one_that_can_is_noted():
    flow = video(VIDEO + SECOND_VIDEO.replace("YCbCr-4:2:2", "ICtCp-4:4:4"))
    assert flow.group == "239.10.10.1" and "ICtCp-4:4:4" in flow.notes[0]


@pytest.mark.parametrize("new, format", [
    ("sampling=RGB; depth=12", VideoFormat(1280, 720, "RGB", 12)), ("sampling=YCbCr-4:2:0; depth=8", VideoFormat(1280, 720, "YCbCr-4:2:0", 8)),
    ("sampling=YCbCr-4:4:4; depth=16; RANGE=FULLPROTECT", VideoFormat(1280, 720, "YCbCr-4:4:4", 16, range="FULLPROTECT")),
    ("sampling=YCbCr-4:2:2; depth=10; interlace", VideoFormat(1280, 720, interlaced=True)),
    ("sampling=YCbCr-4:2:2; depth=10; interlace segmented", VideoFormat(1280, 720, interlaced=True, segmented=True)),
    ("sampling=YCbCr-4:2:2; depth=10; segmented", VideoFormat(1280, 720, interlaced=True, segmented=True)),
    ("sampling=YCbCr-4:2:2; depth=10; RANGE=WIDE", VideoFormat(1280, 720)),
])
def test_every_sampling_depth_and_scan_is_accepted(new, format):
    assert video(VIDEO.replace("depth=10; ", "").replace("sampling=YCbCr-4:2:2", new)).format == format


# ---- refusals -------------------------------------------------------------------------------------------------------------------

WRONG = {
    "alpha": ("YCbCr-4:2:2", "KEY", 9, "got sampling KEY"),
    "constant luminance": ("YCbCr-4:2:2", "CLYCbCr-4:2:2", 9, "got sampling CLYCbCr-4:2:2"),
    "ICtCp": ("YCbCr-4:2:2", "ICtCp-4:4:4", 9, "got sampling ICtCp-4:4:4, which is not supported. Set"),
    "XYZ": ("YCbCr-4:2:2", "XYZ", 9, "got sampling XYZ"),
    "RFC 4175's BGR": ("YCbCr-4:2:2", "BGR", 9, "got sampling BGR"),
    "floating point": ("depth=10", "depth=16f", 9, "got depth 16f"),
    "fields of 4:2:0": ("4:2:2; ", "4:2:0; interlace; ", 9, "got 1280x720i100 YCbCr-4:2:0"),
    "packing": ("2110GPM", "2110XPM", 9, "got packing 2110XPM"),
    "odd width": ("width=1280", "width=1281", 9, "got 1281x720"),
    "no whole pgroups": ("4:2:2; width=1280", "4:4:4; width=1282", 9, "which here have 4 columns and 1 row"),
    "odd height of 4:2:0": ("4:2:2; width=1280; height=720", "4:2:0; width=1280; height=721", 9, "got 1280x721"),
    "too wide": ("width=1280", "width=8192", 9, "got 8192x720"),
    "too high": ("height=720", "height=4320", 9, "got 1280x4320"),
    "unknown sampling": ("YCbCr-4:2:2", "YUV", 9, "got YUV"),
    "unknown depth": ("depth=10", "depth=11", 9, "got 11"),
    "width 0": ("width=1280", "width=0", 9, "1 to 32767"),
    "huge width": ("width=1280", "width=99999999999", 9, "1 to 32767"),
    "rate 0": ("exactframerate=50", "exactframerate=0", 9, "frame rate"),
    "rate over 0": ("exactframerate=50", "exactframerate=50/0", 9, "frame rate"),
    "exponent": ("exactframerate=50", "exactframerate=1e999999999", 9, "frame rate"),
    "MAXUDP": ("TP=2110TPN", "MAXUDP=9000", 9, "MAXUDP"),
    "encrypted": ("RTP/AVP", "RTP/SAVP", 5, "RTP/SAVP"),
    "port 0": ("m=video 5004", "m=video 0", 5, "the flow is off"),
    "port too large": ("m=video 5004", "m=video 65536", 5, "1 to 65535"),
    "port in words": ("m=video 5004", "m=video five", 5, "five"),
    "short m= line": ("m=video 5004 RTP/AVP 96", "m=video 5004", 5, "2 words"),
    "payload type 128": ("RTP/AVP 96", "RTP/AVP 128", 5, "payload type"),
    "no clock rate": ("raw/90000", "raw", 8, "clock rate"),
    "no address": ("c=IN IP4 239.10.10.1/32\n", "", 5, "c= line"),
    "name instead of address": ("c=IN IP4 239.10.10.1/32", "c=IN IP4 camera.example", 6, "numeric"),
    "address 0": ("c=IN IP4 239.10.10.1/32", "c=IN IP4 0.0.0.0", 6, "0.0.0.0"),
    "filter with a name": ("192.168.10.20\na=rtpmap", "camera.example\na=rtpmap", 7, "numeric"),
    "wrapped line": ("; depth=10", "\n depth=10", 10, "wrapped"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_makes_reception_impossible_is_refused_by_line(case):
    old, new, line, words = WRONG[case]
    assert old in VIDEO
    said = refusal(VIDEO.replace(old, new))
    assert said.startswith(f"theatre.sdp, line {line} (") and words in said


def test_no_sdp_at_all_is_refused():
    assert "got nothing" in refusal("")
    assert "line 1 (<!DOCTYPE html>)" in refusal("<!DOCTYPE html>\n<html>")
    assert "at most" in refusal("a=x\n" * 3000) and "at most" in refusal("a" * 70_000)
    assert "at most 64 media sections" in refusal("m=video 5004 RTP/AVP 96\n" * 65)


def test_video_offered_as_metadata_is_refused_by_name():
    assert "raw: this flow is uncompressed video (ST 2110-20). The appliance receives DICOM-RTV metadata" in refusal(VIDEO, sdp.metadata_flow)


# ---- written and read back --------------------------------------------------------------------------------------------------------

ADDRESSES = st.one_of(st.integers(0xEF00_0001, 0xEFFF_FFFF), st.integers(0x0A00_0001, 0x0AFF_FFFE)).map(lambda n: ".".join(str(n >> s & 255) for s in (24, 16, 8, 0)))
COMMON = {
    "group": ADDRESSES, "port": st.integers(1, 65535), "source_address": st.none() | st.just("10.1.2.3"), "payload_type": st.integers(96, 127),
    "ptp": st.sampled_from(["IEEE1588-2008:39-A7-94-FF-FE-07-CB-D0:127", "IEEE1588-2008:traceable"]), "mediaclk_offset": st.integers(0, 0xFFFF_FFFF),
    "extension_ids": st.dictionaries(st.sampled_from(["urn:a", "urn:b", sdp.GRAIN_FLAGS_URI]), st.integers(1, 14)),
    "title": st.sampled_from(["", "OR3 endoscope", "Salle 2, caméra"]),
}
FORMATS = st.builds(
    VideoFormat, width=st.integers(1, 2048).map(lambda n: 2 * n), height=st.integers(1, 2160), depth=st.sampled_from([8, 10]),
    rate=st.sampled_from([Fraction(50), Fraction(60000, 1001), Fraction(25)]), colorimetry=st.sampled_from(["BT709", "BT601", "BT2020", "ST2065-1"]),
    transfer=st.sampled_from(["SDR", "PQ", "HLG"]), range=st.sampled_from(["NARROW", "FULL"]), packing=st.sampled_from(["2110GPM", "2110BPM"]))


@given(st.builds(sdp.VideoFlow, format=FORMATS, ssrc=st.none() | st.integers(0, 0xFFFF_FFFF), maxudp=st.integers(1460, 8960),
                 sender_type=st.sampled_from([None, "2110TPN", "2110TPNL", "2110TPW"]), offset_us=st.none() | st.integers(0, 20_000), **COMMON))
def test_a_video_flow_is_read_back_as_written(flow):
    assert sdp.video_flow(sdp.emit_video(flow), "x") == flow


@given(st.builds(sdp.MetadataFlow, rate_hz=st.sampled_from([90_000, 48_000]), **COMMON))
def test_a_metadata_flow_is_read_back_as_written(flow):
    assert replace(sdp.metadata_flow(sdp.emit_metadata(flow), "x"), notes=()) == flow


def test_written_text_has_crlf_lines_and_every_parameter_of_the_standard():
    text = sdp.emit_video(video())
    assert text.endswith("\r\n") and "\n" not in text.replace("\r\n", "")
    for name in ("sampling", "width", "height", "exactframerate", "depth", "colorimetry", "PM", "SSN", "TP"):
        assert f" {name}=" in text


def test_a_line_in_a_message_is_cut_to_a_readable_length():
    line = session.Line("x.sdp", 3, "a", "fmtp:96 " + "y" * 500)
    assert len(line.where) < 200 and "..." in line.where


def test_video_on_another_clock_than_90_khz_is_refused():
    message = refusal(VIDEO.replace("raw/90000", "raw/48000"))
    assert "raw/90000" in message and "48000" in message and "line" in message
