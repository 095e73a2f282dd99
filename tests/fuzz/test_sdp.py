"""SDP text: whatever comes is a flow or an SdpError, and what is accepted can be written and read back."""
import random
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from appliance.errors import SdpError
from appliance.protocol import sdp
from tests.fuzz import scale
from tests.fuzz import scale
from tests.unit.protocol.test_sdp import METADATA, VIDEO

CORPUS = [VIDEO, VIDEO + METADATA] + [path.read_bytes().decode() for path in sorted((Path(__file__).parents[1] / "data" / "sdp").glob("*.sdp"))]
WORDS = ["\n", "\r", "=", ":", ";", "/", " ", "a=", "m=", "c=", "v=", "\\\n", "0", "-1", "99999999999", "1e9999", "²", "\0", "\ufeff", "interlace", "a=group:DUP x y\n",
         "a=mid:x\n", "IN IP6 ::", "a=extmap:99999 urn:x\n", "a=extmap:", "a=fmtp:96", "a=rtpmap:96 raw/90000\n", "a=source-filter: incl IN IP4 * x\n", "m=video 0 RTP/AVP\n"]
READERS = (sdp.video_flow, sdp.metadata_flow, sdp.audio_flow)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A real file with pieces cut out, put in or taken from another one."""
    text = draw(st.sampled_from(CORPUS))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 40)))
        text = text[:start] + draw(st.sampled_from(WORDS) | st.text(max_size=8)) + text[end:]
    return text


def read(text: str) -> None:
    for reader in READERS:
        try:
            flow = reader(text, "x.sdp")
        except SdpError as error:
            assert "x.sdp" in str(error)
            continue
        assert 0 < flow.port < 65_536 and 0 <= flow.payload_type < 128 and flow.rate_hz > 0
        if isinstance(flow, sdp.VideoFlow):
            assert flow.format.frame_bytes > 0 and flow.format.frame_ns > 0 and len(flow.format.to_bytes()) == 32
            again = sdp.video_flow(sdp.emit_video(flow), "x.sdp")
            assert (again.format, again.group, again.port) == (flow.format, flow.group, flow.port)


@settings(max_examples=100 * scale(), deadline=None)
@given(mutated())
def test_mutated_files_are_read_or_refused(text):
    read(text)


@given(st.text(max_size=200) | st.lists(st.sampled_from(WORDS), max_size=40).map("".join))
@example("a=rtpmap\nm=video 1 RTP/AVP 96")
@example("m=video ² RTP/AVP 96\n")
@example("m=video 1 RTP/AVP 96\nc=IN IP4 1.2.3.4\na=rtpmap:96 raw/90000\na=fmtp:96 x" + " " * 60_000 + "y")
def test_any_text_is_read_or_refused(text):
    read(text)


@given(st.integers(0, len(VIDEO)))
def test_a_file_cut_short_is_read_or_refused(cut):
    read(VIDEO[:cut])


def test_every_file_of_the_corpus_is_read_or_refused():
    for text in CORPUS:
        read(text)
        read(replace_line_ends(text))


def replace_line_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\n", "\r")


def test_a_crowd_of_mutated_files_is_read_or_refused():
    """Ten thousand; a million with `make fuzz`. Reproduced by the seed: the numbers come in the same order each time."""
    chance, lines = random.Random(2110), [line for text in CORPUS for line in text.splitlines()]
    taken = 0
    for _ in range(10_000 * scale() ** 2):
        text = chance.choice(CORPUS)
        for _ in range(chance.randint(1, 4)):
            start = chance.randrange(len(text) + 1)
            piece = chance.choice((chance.choice(WORDS), chr(chance.randrange(1, 0x3000)), "\n" + chance.choice(lines) + "\n", ""))
            text = text[:start] + piece + text[start + chance.choice((0, 0, 1, 8, 40)):]
        try:
            flow = chance.choice(READERS)(text, "x.sdp")
        except SdpError as error:
            assert "x.sdp" in str(error)
            continue
        taken += 1
        assert 0 < flow.port < 65_536 and 0 <= flow.payload_type < 128 and flow.rate_hz > 0
    assert taken > 100 * scale() ** 2, "the files are too broken to be read by anybody"
