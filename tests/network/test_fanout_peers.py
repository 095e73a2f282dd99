"""A fan-out worker as its own process, and aiortc viewers that join it, watch, lose packets, misbehave and leave."""
import asyncio
import contextlib
import os
import random
import re
import resource
import socket
import time
from pathlib import Path

import pytest
from aioice import stun
from aiortc.rtp import RtcpPsfbPacket, RtcpSrPacket
from OpenSSL import SSL

from appliance import clock
from appliance.frame import DEIDENTIFIED, STATIC
from appliance.runtime.capabilities import SYS_NICE
from tests.network.fanout_process import UNITS_A_SECOND, Encoder, FanoutProcess, publish_record
from tests.network.viewer import Control, Viewer, until

RECORD = bytes([1, 0]) + os.urandom(800)
STATIC_RECORD = bytes([1, 1]) + os.urandom(3000)
DEIDENTIFIED_RECORD = bytes([1, 3]) + os.urandom(3000)


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    with FanoutProcess(tmp_path_factory.mktemp("worker"), viewers_max=6) as process:
        yield process
        assert "Traceback" not in "".join(process.log)


@pytest.fixture(autouse=True)
def nobody_stays(worker):
    yield
    asyncio.run(until(lambda: all(worker.value("appliance_fanout_viewers", rendition=name) == 0 for name in ("expert", "class", "expert.vp8", "class.vp8"))))


def play(worker, scenario, rendition="expert"):
    """Runs a scenario with the worker's control socket while an encoder publishes."""
    async def with_control():
        async with Control(worker.control_path) as control:
            return await scenario(control)

    with Encoder(worker, rendition):
        return asyncio.run(with_control())


@contextlib.asynccontextmanager
async def viewer(control, session, **options):
    someone = Viewer(control, session, **options)
    try:
        yield someone
    finally:
        await someone.leave()


async def receive(someone, frames):
    """Decoded pictures of a viewer."""
    track = someone.transceiver.receiver.track
    return [await asyncio.wait_for(track.recv(), 10) for _ in range(frames)]


@pytest.mark.parametrize("rendition, codec", [("expert", None), ("expert.vp8", "VP8")])
def test_a_viewer_sees_the_picture(worker, rendition, codec):
    async def scenario(control):
        async with viewer(control, "0.a", codec=codec) as someone:
            await (await someone.join()).watching()
            return await receive(someone, 20), someone.packets

    pictures, packets = play(worker, scenario, rendition)
    assert {(picture.width, picture.height) for picture in pictures} == {(320, 176)}
    luma = pictures[-1].to_ndarray(format="rgb24")
    assert luma[60, :, 0].max() > 180 and luma[150, :, 0].max() < 100  # the bright square, and the dark below it
    numbers = [packet.sequence_number for packet in packets]
    assert all((after - before) % 65536 == 1 for before, after in zip(numbers, numbers[1:]))


@pytest.mark.parametrize("audience", ["expert", "class"])
def test_the_rtp_timestamp_is_the_capture_time_and_the_sender_report_ties_it_to_the_audiences_clock(worker, audience):
    async def scenario(control):
        async with viewer(control, "0.a", audience=audience) as someone:
            await (await someone.join()).watching()
            await until(lambda: any(isinstance(report, RtcpSrPacket) for report in someone.reports))
            return someone.packets[-1], clock.tai_ns(), next(report for report in someone.reports if isinstance(report, RtcpSrPacket))

    packet, now_tai_ns, report = play(worker, scenario, audience)
    shown = worker.clock_of(audience)
    assert abs(clock.unwrap_rtp_timestamp(packet.timestamp, shown.at(now_tai_ns)) - shown.at(now_tai_ns)) < 500_000_000
    unix_ns = (report.sender_info.ntp_timestamp * 1_000_000_000 >> 32) - 2_208_988_800 * 1_000_000_000
    assert abs(unix_ns - shown.at(time.time_ns())) < 5_000_000_000
    tai_ns = unix_ns + round((clock.tai_ns() - time.time_ns()) / 1e9) * 1_000_000_000  # they differ by whole seconds
    assert abs(clock.unwrap_rtp_timestamp(report.sender_info.rtp_timestamp, tai_ns) - tai_ns) < 10_000_000


def test_all_viewers_share_one_source_and_the_same_pictures(worker):
    async def scenario(control):
        async with viewer(control, "0.a") as first, viewer(control, "0.b") as second:
            for someone in (first, second):
                await (await someone.join()).watching()
            await asyncio.sleep(0.5)
            return first.packets, second.packets

    first, second = play(worker, scenario)
    assert {packet.ssrc for packet in first} == {packet.ssrc for packet in second} and len({packet.ssrc for packet in first}) == 1
    together = {packet.timestamp for packet in first} & {packet.timestamp for packet in second}
    assert len(together) >= 0.3 * UNITS_A_SECOND


def test_metadata_reaches_every_expert_as_it_is(worker):
    async def scenario(control):
        writer = worker.writer("records.scope.expert.0", "metadata.scope")
        async with viewer(control, "0.a") as first, viewer(control, "0.b") as second:
            for someone in (first, second):
                await (await someone.join()).watching()
            for message in (RECORD, STATIC_RECORD):
                publish_record(writer, message, STATIC if message is STATIC_RECORD else 0)
            await until(lambda: len(first.messages) == len(second.messages) == 2)
            return first.messages, second.messages

    first, second = play(worker, scenario)
    assert set(first) == set(second) == {RECORD, STATIC_RECORD}


def test_a_class_gets_what_is_deidentified_and_nothing_else(worker):
    async def scenario(control):
        writer = worker.writer("records.scope.class.0", "metadata.scope")
        async with viewer(control, "0.a", audience="class") as someone:
            await (await someone.join()).watching()
            publish_record(writer, DEIDENTIFIED_RECORD[:700])  # only the message says it
            publish_record(writer, RECORD, DEIDENTIFIED)       # only the slot says it
            publish_record(writer, DEIDENTIFIED_RECORD, STATIC | DEIDENTIFIED)
            await until(lambda: someone.messages and refused() == before + 2)
            return someone.messages

    def refused():
        return worker.value("appliance_fanout_metadata_messages_refused_total", rendition="class")

    before = refused()
    assert play(worker, scenario, "class") == [DEIDENTIFIED_RECORD]


def test_a_channel_of_another_name_is_closed_and_gets_nothing(worker):
    async def scenario(control):
        writer = worker.writer("records.scope.expert.0", "metadata.scope")
        async with viewer(control, "0.a", label="chat") as someone:
            await someone.join()
            await until(lambda: someone.packets and someone.channel.readyState == "closed")
            publish_record(writer, RECORD)
            await asyncio.sleep(0.2)
            return someone.messages

    assert play(worker, scenario) == []


def test_lost_packets_are_sent_again(worker):
    async def scenario(control):
        async with viewer(control, "0.a") as someone:
            await (await someone.join()).watching()
            lost, dice = set(), random.Random(5)

            def lose(number):
                if number in lost or dice.random() > 0.2:
                    return False
                lost.add(number)
                return True

            someone.lose = lose
            await until(lambda: len(lost) >= 10)
            someone.lose = lambda number: False
            await asyncio.sleep(0.5)
            return lost, {packet.sequence_number for packet in someone.packets}

    lost, seen = play(worker, scenario)
    assert len(lost & seen) >= 0.8 * len(lost)


def test_viewers_that_lost_the_picture_cost_one_keyframe(worker):
    async def scenario(control):
        async with viewer(control, "0.a") as first, viewer(control, "0.b") as second:
            for someone in (first, second):
                await (await someone.join()).watching()
            await asyncio.sleep(0.5)
            before = worker.value("appliance_fanout_keyframe_requests_total", rendition="expert")
            for someone in (first, second):
                dtls, ssrc = someone.transceiver.receiver.transport, someone.packets[0].ssrc
                for _ in range(10):
                    await dtls._send_rtp(bytes(RtcpPsfbPacket(fmt=1, ssrc=1, media_ssrc=ssrc)))
            await asyncio.sleep(0.6)
            return worker.value("appliance_fanout_keyframe_requests_total", rendition="expert") - before

    assert 1 <= play(worker, scenario) <= 2


def test_an_offer_without_any_candidate_connects_by_the_viewers_own_checks(worker):
    async def scenario(control):
        async with viewer(control, "0.a") as someone:
            await (await someone.join(lambda sdp: re.sub(r"a=candidate:.*\r\n", "", sdp))).watching()

    play(worker, scenario)


def test_a_candidate_by_name_is_passed_over(worker):
    async def scenario(control):
        async with viewer(control, "0.a") as someone:
            await (await someone.join(lambda sdp: re.sub(r"127\.0\.0\.1 (\d+) typ", r"0dd3f9c9-2b5c-4bd3-a2b1-c27e12d9a2c1.local \1 typ", sdp))).watching()

    play(worker, scenario)


def test_candidates_may_trickle(worker):
    async def scenario(control):
        async with viewer(control, "0.a") as someone:
            await someone.join(lambda sdp: re.sub(r"a=candidate:.*\r\n", "", sdp))
            sdp = someone.peer.localDescription.sdp
            lines = [line for line in sdp.split("\r\n") if line.startswith(("a=ice-", "a=candidate", "a=mid:0"))]
            taken = await control.ask("PATCH", "/sessions/0.a", data="\r\n".join(lines))
            restart = await control.ask("PATCH", "/sessions/0.a", data="a=ice-ufrag:other\r\n")
            unknown = await control.ask("PATCH", "/sessions/0.b", data="\r\n".join(lines))
            await someone.watching()
            return [status for status, _ in (taken, restart, unknown)]

    assert play(worker, scenario) == [204, 422, 404]


class Elsewhere(asyncio.DatagramProtocol):
    """A new address of a viewer that moved: it nominates itself, and answers the check that the worker makes."""

    def __init__(self, someone):
        ice = someone.peer.getTransceivers()[0].receiver.transport.transport._connection
        self.own_password, self.other_password = ice.local_password.encode(), ice.remote_password.encode()
        self.username = f"{ice.remote_username}:{ice.local_username}"
        self.port = ice._nominated[1].remote_addr[1]
        self.media = 0

    def connection_made(self, transport):
        self.transport = transport
        check = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        check.attributes.update({"USERNAME": self.username, "PRIORITY": 2, "ICE-CONTROLLING": 2**63, "USE-CANDIDATE": None})
        check.add_message_integrity(self.other_password)
        transport.sendto(bytes(check), ("127.0.0.1", self.port))

    def datagram_received(self, data, addr):
        if data[0] >= 128:
            self.media += data[1] & 0x7F < 64 or data[1] & 0x7F > 95
        elif data[0] < 4 and (message := stun.parse_message(data)).message_class == stun.Class.REQUEST:
            reply = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, message.transaction_id)
            reply.attributes["XOR-MAPPED-ADDRESS"] = addr
            reply.add_message_integrity(self.own_password)
            self.transport.sendto(bytes(reply), addr)


def test_media_follows_a_viewer_to_another_address(worker):
    async def scenario(control):
        async with viewer(control, "0.a") as someone:
            await (await someone.join()).watching()
            loop = asyncio.get_running_loop()
            transport, elsewhere = await loop.create_datagram_endpoint(lambda: Elsewhere(someone), local_addr=("127.0.0.1", 0))
            await until(lambda: elsewhere.media > UNITS_A_SECOND)
            at_home = len(someone.packets)
            await asyncio.sleep(0.3)
            transport.close()
            return len(someone.packets) - at_home

    assert play(worker, scenario) == 0


def test_delete_ends_the_session_at_both_ends(worker):
    async def scenario(control):
        async with viewer(control, "0.a") as someone:
            await (await someone.join()).watching()
            assert await control.viewers() == 1
            gone = await control.ask("DELETE", "/sessions/0.a")
            again = await control.ask("DELETE", "/sessions/0.a")
            await until(lambda: someone.peer.connectionState == "closed")
            return gone[0], again[0], await control.viewers()

    assert play(worker, scenario) == (200, 404, 0)


def test_a_fatal_alert_ends_the_session_and_costs_the_others_no_metadata(worker):
    async def scenario(control):
        writer = worker.writer("records.scope.expert.0", "metadata.scope")
        async with viewer(control, "0.a") as broken, viewer(control, "0.b") as someone:
            for each in (broken, someone):
                await (await each.join()).watching()
            # OpenSSL is told that there is no renegotiation, and so ends the connection with a fatal alert.
            dtls = broken.peer.sctp.transport
            dtls._ssl.renegotiate()
            with contextlib.suppress(SSL.WantReadError):
                dtls._ssl.do_handshake()
            await dtls._write_ssl()

            async def nowhere(data):
                pass

            dtls._send_data = nowhere  # the viewer's own connection is as broken as ours
            while await control.viewers() > 1:
                publish_record(writer, RECORD)
                await asyncio.sleep(0.02)
            before = len(someone.messages)
            publish_record(writer, RECORD)
            await until(lambda: len(someone.messages) > before)

    play(worker, lambda control: asyncio.wait_for(scenario(control), 10))


def test_a_session_ends_with_the_token_that_opened_it(worker):
    async def scenario(control):
        async with viewer(control, "0.a", lifetime_s=4) as brief, viewer(control, "0.b") as someone:
            for each in (brief, someone):
                await (await each.join()).watching()
            await until(lambda: brief.peer.connectionState == "closed")
            seen = len(someone.packets)
            await until(lambda: len(someone.packets) > seen + UNITS_A_SECOND)
            return await control.viewers()

    assert play(worker, scenario) == 1


def test_a_viewer_that_leaves_is_gone_at_once(worker):
    async def scenario(control):
        async with viewer(control, "0.a") as someone:
            await (await someone.join()).watching()
        await until(lambda: worker.value("appliance_fanout_viewers", rendition="expert") == 0, limit_s=2)
        while await control.viewers():
            await asyncio.sleep(0.01)

    play(worker, lambda control: asyncio.wait_for(scenario(control), 10))


def test_there_are_only_so_many_places(worker):
    async def scenario(control):
        someone = Viewer(control, "0.x")
        request = {"stream": "scope", "audience": "expert", "expires_s": int(time.time() + 3600), "sdp": await someone.offer()}
        answers = [await control.ask("POST", "/sessions", json=request | {"session": f"0.{i}"}) for i in range(8)]
        for i in range(6):
            await control.ask("DELETE", f"/sessions/0.{i}")
        await someone.leave()
        return [status for status, _ in answers]

    assert play(worker, scenario) == 6 * [201] + 2 * [503]


@pytest.mark.parametrize("change, status", [
    ({"sdp": "hello"}, 400), ({"sdp": 5}, 400), ({"audience": "surgeon"}, 400), ({"stream": "another"}, 404), ({"session": ""}, 409),
    ({"sdp": None}, 400), ({"expires_s": None}, 400), ({"expires_s": "soon"}, 400), ({"expires_s": True}, 400)])
def test_requests_that_cannot_be_served_say_why(worker, change, status):
    async def scenario(control):
        someone = Viewer(control, "0.a")
        request = {"stream": "scope", "audience": "expert", "expires_s": int(time.time() + 3600), "sdp": await someone.offer(), "session": "0.a"} | change
        await someone.leave()
        return await control.ask("POST", "/sessions", json=request)

    answered, body = play(worker, scenario)
    assert answered == body["status"] == status and body["error"]


@pytest.mark.parametrize("body", ["", "[", "[]", "{}", "null", "[" * 100_000])
def test_a_body_that_is_no_request_is_malformed(worker, body):
    assert play(worker, lambda control: control.ask("POST", "/sessions", data=body))[0] == 400


def test_random_octets_on_a_media_port_change_nothing(worker):
    async def scenario(control):
        async with viewer(control, "0.a") as someone:
            await (await someone.join()).watching()
            port = int(re.search(r"a=candidate:\S+ 1 udp \d+ \S+ (\d+)", someone.answer)[1])
            dice, before = random.Random(7), len(someone.packets)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                for _ in range(500):
                    first = dice.choice((0, 1, 22, 23, 128, 200, 255))
                    stranger.sendto(bytes([first]) + dice.randbytes(dice.randrange(200)), ("127.0.0.1", port))
                    await asyncio.sleep(0)
            # The viewer itself may go mad as well: the same through its own, known address.
            ice = someone.peer.getTransceivers()[0].receiver.transport.transport
            for _ in range(500):
                await ice._send(bytes([dice.choice((0, 1, 22, 128, 200))]) + dice.randbytes(dice.randrange(1, 200)))
            await until(lambda: len(someone.packets) > before + UNITS_A_SECOND)

    counted = sum(worker.value("appliance_fanout_datagrams_malformed_total", reason=reason) for reason in ("stun", "stranger", "dtls", "srtcp", "rtcp", "sctp"))
    play(worker, scenario)
    assert sum(worker.value("appliance_fanout_datagrams_malformed_total", reason=reason)
               for reason in ("stun", "stranger", "dtls", "srtcp", "rtcp", "sctp")) > counted


def test_a_viewer_that_does_not_read_misses_metadata_and_costs_no_memory(worker):
    async def scenario(control):
        writer = worker.writer("records.scope.expert.0", "metadata.scope")
        async with viewer(control, "0.a") as deaf, viewer(control, "0.b") as someone:
            for each in (deaf, someone):
                await (await each.join()).watching()

            async def ignore(data):
                pass

            deaf.peer.sctp._handle_data = ignore
            before = worker.resident_bytes()
            for i in range(400):
                publish_record(writer, RECORD)
                await asyncio.sleep(0.002)
            await until(lambda: len(someone.messages) > 300)
            return worker.resident_bytes() - before

    skipped = worker.value("appliance_fanout_metadata_messages_skipped_total", rendition="expert")
    assert play(worker, scenario) < 4 << 20
    assert worker.value("appliance_fanout_metadata_messages_skipped_total", rendition="expert") > skipped + 100


def test_the_sending_thread_alone_goes_first_where_that_is_allowed_and_nobody_keeps_a_privilege_for_it(worker):
    allowed = resource.getrlimit(resource.RLIMIT_RTPRIO)[0] > 0 or capabilities(os.getpid()) >> SYS_NICE & 1
    threads = [int(thread) for thread in os.listdir(f"/proc/{worker.process.pid}/task")]
    first = [thread for thread in threads if os.sched_getscheduler(thread) == os.SCHED_RR]
    assert len(first) == allowed
    assert not any(capabilities(thread) >> SYS_NICE & 1 for thread in (*first, worker.process.pid))


def capabilities(thread):
    """Which the thread has, as a number of bits."""
    [line] = [line for line in Path(f"/proc/{thread}/status").read_text().splitlines() if line.startswith("CapEff:")]
    return int(line.split()[1], 16)


def test_a_worker_may_open_as_many_sockets_as_the_machine_allows(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        with FanoutProcess(tmp_path) as worker:
            assert resource.prlimit(worker.process.pid, resource.RLIMIT_NOFILE) == (limits[1], limits[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_worker_that_stops_tells_its_viewers_and_is_gone_within_a_second(tmp_path):
    with FanoutProcess(tmp_path) as worker:
        async def scenario(control):
            async with viewer(control, "0.a") as first, viewer(control, "0.b") as second:
                for someone in (first, second):
                    await (await someone.join()).watching()
                begun = time.monotonic()
                worker.process.terminate()
                await until(lambda: worker.process.poll() is not None)
                ended = time.monotonic() - begun
                await until(lambda: first.peer.connectionState == second.peer.connectionState == "closed")
                return ended

        ended = play(worker, scenario)
        assert worker.process.returncode == 0 and ended < 1.5, "".join(worker.log)
