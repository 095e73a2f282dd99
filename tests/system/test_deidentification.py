"""Every octet that reaches a class viewer is searched for every value that tells who, where or when at the source; the expert's records say which."""
import asyncio
import json
import re
import ssl
import struct
import time
from types import SimpleNamespace

import aiohttp
import pytest

from appliance import clock
from appliance.protocol import dicom_rtv
from appliance.protocol.deidentification import profile
from tests.network.viewer import Viewer, until
from tests.system.theatre import wait_until

WATCHED_S = 3
COUNTED_S = 3
COUNT_INTERVAL_S = 1.2  # a session adds up what was sent once a second
AUDIENCES = {"expert": "expert", "student": "class"}
SENDER_REPORT = 200
NTP_EPOCH_S = 2_208_988_800  # RFC 5905; WebRTC libraries like to number sessions with it
TICKS_BESIDE = 600  # a third of a frame's
HOOK = """(() => { window.heard = []; const note = (what, value) => window.heard.push([what, value]);
    const create = RTCPeerConnection.prototype.createDataChannel;
    RTCPeerConnection.prototype.createDataChannel = function (...a) { const channel = create.apply(this, a);
        channel.addEventListener('message', e => note(channel.label, typeof e.data === 'string' ? e.data : new TextDecoder('latin1').decode(e.data)));
        return channel; };
    const fetched = window.fetch; window.fetch = async (...a) => { const answer = await fetched(...a);
        answer.clone().text().then(text => note('http', [...answer.headers].filter(([name]) => name !== 'date').join('\\n') + text)); return answer; };
    for (const level of ['log', 'info', 'warn', 'error', 'debug']) { const say = console[level]; console[level] = (...a) => { note('console', a.join(' ')); say(...a); }; }
    window.addEventListener('error', e => note('console', e.message)); })()"""


COUNT = """(() => { window.grains = 0; const create = RTCPeerConnection.prototype.createDataChannel;
    RTCPeerConnection.prototype.createDataChannel = function (label, options) { const channel = create.call(this, label, options);
        if (label === 'metadata') channel.addEventListener('message', () => window.grains++);
        return channel; }; })()"""


class WhepControl:
    """The gateway, in the place of a worker's control socket."""

    def __init__(self, theatre, role):
        self._theatre, self._role = theatre, role
        self.answers = []

    async def ask(self, method, path, json):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        headers = {"Authorization": f"Bearer {self._theatre.token(self._role)}", "Content-Type": "application/sdp"}
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as client:
            async with client.post(f"{self._theatre.url}/whep/{self._theatre.stream}", data=json["sdp"], headers=headers) as answer:
                sdp = await answer.text()
                self.answers.append(sdp)
                self.answers += [f"{name}: {value}" for name, value in answer.headers.items() if name != "Date"]
                return answer.status, {"sdp": sdp}


async def watch(theatre, role):
    """What reaches one viewer: data channel messages, RTP packets and RTCP as they were decrypted, and the answer."""
    control = WhepControl(theatre, role)
    viewer = Viewer(control, "by-whep")
    rtp, rtcp = [], []
    transport = viewer.transceiver.receiver.transport
    take_rtp, take_rtcp = transport._handle_rtp_data, transport._handle_rtcp_data

    async def packet(data, arrival_time_ms):
        rtp.append(data)
        await take_rtp(data, arrival_time_ms)

    async def report(data):
        rtcp.append(data)
        await take_rtcp(data)

    transport._handle_rtp_data, transport._handle_rtcp_data = packet, report
    await (await viewer.join()).watching()
    await asyncio.sleep(WATCHED_S)
    await until(lambda: rtcp and any(message[1] & 1 for message in viewer.messages))
    await viewer.leave()
    return SimpleNamespace(messages=viewer.messages, rtp=rtp, rtcp=rtcp, answers=control.answers)


@pytest.fixture(scope="module")
def seen(theatre, browser):
    """What an expert got, and all that reached two class viewers: a player that hands out every octet, and a page."""
    async def both():
        return await asyncio.gather(watch(theatre, "expert"), watch(theatre, "student"))

    page = browser.open(theatre.link("student"), script=HOOK)
    expert, student = asyncio.run(both())
    page.wait("""window.applianceViewer && applianceViewer.frames > 25 && applianceViewer.replies > 0 && applianceViewer.latencies.length > 20
        && heard.some(([what]) => what === 'http')""", 30)
    heard = page.evaluate("heard")
    text, latencies = page.evaluate("document.body.innerText"), page.evaluate("applianceViewer.latencies")
    joined, frames = page.evaluate("[applianceViewer.joined, applianceViewer.frames]")
    page.close()
    return SimpleNamespace(expert=expert, student=student, heard=heard, text=text, latencies=latencies, joined=joined, frames=frames)


def rtp_header(packet):
    """Header and extensions: what is not the picture."""
    return packet[:16 + 4 * int.from_bytes(packet[14:16], "big")] if packet[0] & 0x10 else packet[:12]


def reached(seen, theatre):
    """{what: octets} of all that a class viewer was sent, and of the appliance's log."""
    found = {"messages": b"\n".join(seen.student.messages), "RTP headers": b"\n".join(map(rtp_header, seen.student.rtp)),
             "RTCP": b"\n".join(seen.student.rtcp), "answer": "\n".join(seen.student.answers).encode(), "page": seen.text.encode(),
             "log": theatre.log_path.read_bytes()}
    for what, value in seen.heard:
        found[what] = found.get(what, b"") + value.encode("latin-1", "replace") + b"\n"
    assert {"metadata", "report", "http"} <= set(found) and all(found[what] for what in found if what != "log")
    return found


def identifying(seen):
    """The octets of each value of the source that the profile does not let pass, as the expert got them."""
    payload = next(message[16:] for message in seen.expert.messages if message[1] & 1)
    grain = dicom_rtv.parse_grain(payload)
    values = {bytes(grain.meta.RTVSourceIdentifier), bytes(grain.meta.RTVFlowIdentifier), str(grain.meta.RTVCommunicationSOPInstanceUID).encode()}
    for element in grain.static.iterall():
        if int(element.tag) not in profile.actions() or element.VR == "SQ" or str(element.value).startswith("1.2.840.10008."):
            continue
        values |= {element.value} if isinstance(element.value, bytes) else {word.encode() for word in re.split(r"[\^\\]", str(element.value))}
    return {value for value in values if len(value) >= 4}


def test_no_value_of_the_source_reaches_a_class(theatre, seen):
    values = identifying(seen)
    for expected in ("Prüfling", "DEMO-000042", "Demonstration Hospital", "Theatre 3", "SIM-0001", "19700101", time.strftime("%Y%m%d", time.gmtime())):
        assert any(expected.encode() in value for value in values), f"{expected} is what a class must not get"
    for what, octets in reached(seen, theatre).items():
        for value in values:
            forms = {value, value.lower(), value.hex().encode(), value.decode("utf-8", "replace").encode("latin-1", "replace")}
            assert not any(form in octets or form in octets.lower() for form in forms), f"{value!r} reached a class by {what}"


def test_every_message_of_a_class_says_that_it_is_deidentified(seen):
    of_page = [text.encode("latin-1", "replace") for what, text in seen.heard if what == "metadata"]
    assert len(of_page) > 25 and len(seen.student.messages) > 25
    for message in of_page + seen.student.messages:
        # TextDecoder's latin-1 is windows-1252, so only the ASCII of a page's message is as it was.
        assert message[1] & 2 and message[16 + 128:16 + 132] == b"DICM" and message[16:].startswith(b"De-identified by")
    assert any(message[1] & 1 for message in of_page) and any(message[1] & 1 for message in seen.student.messages), "the static part comes too"


def test_no_real_time_reaches_a_class(theatre, seen):
    everything = reached(seen, theatre)
    del everything["log"]  # the appliance's own, which nobody of a class is sent
    now_s = int(time.time())
    for message in seen.expert.messages:
        origin = dicom_rtv.parse_grain(message[16:]).dynamic.TimeOfFrameGroupSequence[0].FrameOriginTimestamp
        assert abs(int.from_bytes(origin[:6], "big") - now_s) < 300, "the expert is told the truth"
        for what, octets in everything.items():
            assert origin not in octets and origin[:6] not in octets and message[8:16] not in octets, f"a capture time reached a class by {what}"
    for what, octets in everything.items():
        for told in (str(now_s)[:6], str(now_s + NTP_EPOCH_S)[:6], time.strftime("%Y-%m-%d", time.gmtime()), time.strftime("%Y%m%d", time.gmtime())):
            assert told.encode() not in octets, f"{told} reached a class by {what}"


def near_now(timestamp):
    return abs(clock.unwrap_rtp_timestamp(timestamp, clock.tai_ns()) - clock.tai_ns()) < 600 * 10**9


def frames(messages):
    """{where the instrument's tip is in the frame: RTP timestamp beside its grain}. Nothing else of a frame is told to both audiences alike."""
    found = {}
    for message in messages:
        block = dicom_rtv.parse_grain(message[16:]).dynamic.private_block(dicom_rtv.INSTRUMENT_GROUP, dicom_rtv.INSTRUMENT_CREATOR)
        tip = block[0x01].value[0].private_block(dicom_rtv.INSTRUMENT_GROUP, dicom_rtv.INSTRUMENT_CREATOR)[0x03].value
        found[struct.pack("<2f", *tip)] = int.from_bytes(message[4:8], "big")
    return found


def test_everything_of_a_class_is_on_one_clock_of_its_own(seen):
    true, told = frames(seen.expert.messages), frames(seen.student.messages)
    (shift,) = {(told[tip] - true[tip]) % 2**32 for tip in true.keys() & told.keys()}
    assert shift  # anywhere in the wrap of 13 hours: how far in years, sender reports show
    assert all(near_now(timestamp) for timestamp in true.values())
    assert all(near_now(int.from_bytes(packet[4:8], "big") - shift & 0xFFFF_FFFF) for packet in seen.student.rtp), "picture as its metadata"
    for report in seen.student.rtcp:
        if report[1] == SENDER_REPORT:
            seconds, _, rtp_timestamp = struct.unpack_from(">III", report, 8)
            assert abs(seconds - NTP_EPOCH_S - time.time()) > 300 * 86_400 and near_now(rtp_timestamp - shift & 0xFFFF_FFFF)


def test_message_and_picture_of_a_class_still_meet_exactly(seen):
    told = {int.from_bytes(message[4:8], "big") for message in seen.student.messages}
    first, last = min(told), max(told)
    shown = {timestamp for packet in seen.student.rtp if first < (timestamp := int.from_bytes(packet[4:8], "big")) < last}
    assert shown & told
    # A busy machine may skip a message, but none is a little beside its picture.
    assert not any((timestamp - near + TICKS_BESIDE) % 2**32 <= 2 * TICKS_BESIDE for timestamp in shown - told for near in told)
    assert seen.joined >= 0.9 * seen.frames


def test_a_class_s_page_measures_latency_and_says_that_it_is_deidentified(seen):
    assert len(seen.latencies) > 20 and all(-100 < latency < 5000 for latency in seen.latencies)
    assert "De-identified" in seen.text and "Abdomen" in seen.text and "Captured at" not in seen.text and "Patient ID" not in seen.text
    reports = [json.loads(text) for what, text in seen.heard if what == "report"]
    assert reports and all(abs(report["unix_ms"] / 1000 - time.time()) > 300 * 86_400 for report in reports)


def settled(read):
    """The first value that is read twice."""
    last = None
    for _ in range(10):
        value = read()
        if value == last:
            return value
        last = value
        time.sleep(COUNT_INTERVAL_S)
    raise AssertionError(f"messages go on without a source: {last}")


@pytest.fixture(scope="module")
def counts(theatre, browser, seen):
    """{role: (messages sent, messages that reached the page, messages skipped)} of new viewers, after both have watched and the source has ended."""
    def counted(role):
        return [theatre.metric(f"appliance_fanout_metadata_messages_{what}total", audience=AUDIENCES[role]) for what in ("", "skipped_")]

    wait_until(lambda: theatre.metric("appliance_fanout_viewers") == 0, 15, "the viewers before to be gone")
    before = {role: counted(role) for role in AUDIENCES}
    pages = {role: browser.open(theatre.link(role), script=COUNT) for role in AUDIENCES}
    for page in pages.values():
        page.wait("window.grains > 0 && window.applianceViewer && applianceViewer.frames > 5", 30)
    time.sleep(COUNTED_S)
    theatre.stop_source()  # so that nothing is under way when both sides are asked
    after = settled(lambda: {role: (*counted(role), page.evaluate("window.grains")) for role, page in pages.items()})
    yield {role: (sent - before[role][0], grains, skipped - before[role][1]) for role, (sent, skipped, grains) in after.items()}
    for page in pages.values():
        page.close()


@pytest.mark.parametrize("role", AUDIENCES)
def test_each_message_that_is_counted_as_sent_arrives(counts, role):
    sent, reached, skipped = counts[role]
    assert sent == reached > 25 * COUNTED_S and not skipped, "a busy machine's source leaves frames out"
