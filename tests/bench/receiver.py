"""The ingest stage's reception alone, in a process of its own: one flow into a ring that nobody reads.   python -m tests.bench.receiver SDP [single]

With `single` the kernel merges nothing. Prints one JSON object with its statistics for every line that it reads from its standard input.
"""
import json
import sys
import threading
from pathlib import Path

from appliance import ingest
from appliance.protocol import sdp
from appliance.runtime.multicast import open_receiver
from appliance.runtime.ring import LATEST, Ring, RingWriter
from appliance.topology import RAW_SLOTS
from cext.reception import Reception


def main(place, single=None):
    flow = sdp.video_flow(Path(place).read_text(), place)
    ring = Ring.create("raw.bench", RAW_SLOTS, flow.format.frame_bytes, LATEST, flow.format.to_bytes())
    receiver = open_receiver(flow, "lo", ingest.RECEIVE_BUFFER_BYTES)
    if not single:
        ingest.merge_datagrams(receiver)
    reception = Reception(receiver.fileno(), ingest.assemble(flow, RingWriter(ring.fd, [], flow.format.to_bytes())))
    asked = threading.Thread(target=_answer, args=(reception,), daemon=True)
    asked.start()
    while asked.is_alive():
        reception.run(ingest.WAKE_INTERVAL_NS)
        reception.assembly.statistics()
    receiver.close()


def _answer(reception):
    for _ in sys.stdin:
        print(json.dumps(reception.assembly.statistics() | reception.statistics()), flush=True)


main(*sys.argv[1:])
