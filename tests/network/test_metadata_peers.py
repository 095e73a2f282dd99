"""A worker's metadata to real viewers, aiortc's: ICE, DTLS and SCTP on loopback, from the record's ring to the page's channel and back."""
import asyncio
import os
import time

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from appliance.fanout.records import RecordFeed
from appliance.fanout.worker import Worker
from appliance.frame import DEIDENTIFIED, STATIC, Audience
from appliance.runtime.ring import EVERY, Ring, RingReader, RingWriter
from tests.workbench import Workbench

GRAINS, LARGEST_BYTES, LIMIT_S = 60, 20_000, 60


class Page:
    """What a page does: offers, opens the channel, and keeps what it hears."""

    def __init__(self):
        self.peer, self.heard = RTCPeerConnection(RTCConfiguration(iceServers=[])), []
        self.peer.addTransceiver("video", direction="recvonly")
        self.channel = self.peer.createDataChannel("metadata", ordered=False, maxRetransmits=0)
        self.channel.on("message", self.heard.append)

    async def join(self, worker, audience, name):
        await self.peer.setLocalDescription(await self.peer.createOffer())
        answer = await worker.create("scope", audience, int(time.time()) + 3600, self.peer.localDescription.sdp, name)
        await self.peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        while self.channel.readyState != "open":
            await asyncio.sleep(0.01)


@pytest.fixture
def bench(tmp_path):
    bench = Workbench(tmp_path, "fanout.0")
    yield bench
    bench.close()


@pytest.fixture
def ends():
    doorbell = os.eventfd(0, os.EFD_NONBLOCK)
    ring = Ring.create("records", 4, 1 << 16, EVERY, b"record")
    yield RingWriter(ring.fd, [doorbell], b"record"), RingReader(ring.fd, 0, doorbell, b"record")
    os.close(doorbell)
    ring.close()


def publish(writer, number, size, has_static):
    message = bytes([1, 1 if has_static else 2]) + number.to_bytes(2, "big") + bytes(12 + size)
    slot = writer.claim()
    with memoryview(slot) as payload:
        payload[:len(message)] = message
    slot.payload_bytes, slot.flags = len(message), STATIC if has_static else DEIDENTIFIED
    slot.publish()
    return message


@pytest.mark.parametrize("audience", Audience)
def test_viewers_hear_every_record_that_they_may_hear_and_the_counters_say_so(bench, ends, audience):
    async def scenario():
        writer, reader = ends
        worker = Worker(bench.stage)
        worker.feeds["scope", audience] = RecordFeed(reader, audience, 10)
        pages = [Page() for _ in range(3)]
        for i, page in enumerate(pages):
            await page.join(worker, audience, f"page{i}")
        sent = []
        for number in range(GRAINS):
            has_static = number % 20 == 5
            sent.append((publish(writer, number, LARGEST_BYTES if number % 20 == 10 else 700, has_static), has_static))
            await asyncio.sleep(0.02)
        due = [message for message, has_static in sent if audience is Audience.EXPERT or not has_static]
        while any(len(page.heard) < len(due) for page in pages):
            await asyncio.sleep(0.02)
        assert [sorted(page.heard) for page in pages] == 3 * [sorted(due)]
        await worker.close()
        await asyncio.gather(*(page.peer.close() for page in pages))
        return len(due)

    due = asyncio.run(asyncio.wait_for(scenario(), LIMIT_S))
    counts = [sum(bench.value(f"appliance_fanout_metadata_messages{kind}_total", rendition=f"{audience.value}{codec}") for codec in ("", ".vp8"))
              for kind in ("", "_skipped", "_refused")]
    assert counts == [3 * due, 0, 3 * (GRAINS - due)]
