"""The ingest stage's intake alone, in a process of its own: one flow into a ring.   python -m tests.bench.receiver SDP RECEIVE [single] [converted]

RECEIVE is packet-ring, socket or auto. With `single` the kernel merges nothing for a socket; with `converted` a thread makes a picture of the newest frame
as the convert stage does, and else nobody reads the ring. Prints one JSON object with its statistics for every line that
it reads from its standard input, and ends with it.
"""
import json
import os
import socket
import sys
import threading
from pathlib import Path

import numpy as np

from appliance.convert import WAIT_S
from appliance.frame import PlanarFormat
from appliance.ingest.intake import UDP_GRO, Intake
from appliance.ingest.stage import WAKE_INTERVAL_NS, assemble
from appliance.protocol import sdp
from appliance.runtime.ring import LATEST, Ring, RingReader, RingWriter
from appliance.topology import RAW_SLOTS
from cext.convert import Converter


def main(place, receive, *wanted):
    flow = sdp.video_flow(Path(place).read_text(), place)
    ring = Ring.create("raw.bench", RAW_SLOTS, flow.format.frame_bytes, LATEST, flow.format.to_bytes())
    doorbell = os.eventfd(0, os.EFD_NONBLOCK)
    converted = {"converted": 0}
    if "converted" in wanted:
        threading.Thread(target=_convert, args=(flow.format, RingReader(ring.fd, 0, doorbell, flow.format.to_bytes()), converted), daemon=True).start()
    with Intake(flow, "lo", assemble(flow, RingWriter(ring.fd, [doorbell], flow.format.to_bytes())), receive) as intake:
        if "single" in wanted:
            intake.ways[0].receiver.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 0)
        asked = threading.Thread(target=_answer, args=(intake, converted), daemon=True)
        asked.start()
        while asked.is_alive():
            intake.run(WAKE_INTERVAL_NS)
            intake.assembly.statistics()


def _convert(format, reader, converted):
    planar = PlanarFormat(format.width, format.height)
    picture = np.zeros(planar.frame_bytes, np.uint8)
    converter = Converter(format.sampling, format.depth, planar, range=format.range, luma_weights=format.luma_weights)
    while True:
        if reader.wait(WAIT_S) and (raw := reader.lease_latest()) is not None:
            converter.convert(raw, picture)
            raw.release()
            converted["converted"] += 1


def _answer(intake, converted):
    for _ in sys.stdin:
        print(json.dumps(intake.assembly.statistics() | intake.statistics() | converted), flush=True)


main(*sys.argv[1:])
