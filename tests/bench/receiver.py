"""The ingest stage's intake alone, in a process of its own: one flow into a ring that nobody reads.   python -m tests.bench.receiver SDP RECEIVE [single]

RECEIVE is packet-ring, socket or auto. With `single` the kernel merges nothing for a socket. Prints one JSON object with its statistics for every line that
it reads from its standard input, and ends with it.
"""
import json
import socket
import sys
import threading
from pathlib import Path

from appliance.ingest.intake import UDP_GRO, Intake
from appliance.ingest.stage import WAKE_INTERVAL_NS, assemble
from appliance.protocol import sdp
from appliance.runtime.ring import LATEST, Ring, RingWriter
from appliance.topology import RAW_SLOTS


def main(place, receive, single=None):
    flow = sdp.video_flow(Path(place).read_text(), place)
    ring = Ring.create("raw.bench", RAW_SLOTS, flow.format.frame_bytes, LATEST, flow.format.to_bytes())
    with Intake(flow, "lo", assemble(flow, RingWriter(ring.fd, [], flow.format.to_bytes())), receive) as intake:
        if single:
            intake.receiver.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 0)
        asked = threading.Thread(target=_answer, args=(intake,), daemon=True)
        asked.start()
        while asked.is_alive():
            intake.run(WAKE_INTERVAL_NS)
            intake.assembly.statistics()


def _answer(intake):
    for _ in sys.stdin:
        print(json.dumps(intake.assembly.statistics() | intake.statistics()), flush=True)


main(*sys.argv[1:])
