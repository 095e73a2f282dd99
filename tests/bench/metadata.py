"""Metadata to a class: what fifty grains a second to every viewer cost the fan-out workers, beside plain aiortc's data channels in the same run."""
import json
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.fanload import CONNECT_LIMIT_S, STAGGER_S
from tests.system.theatre import Theatre, free_ports

HERE = Path(__file__).parent
GRAINS_A_SECOND = 50
AIORTC_VIEWERS = 20
MESSAGE_OCTETS = 700  # about what the synthetic source's grain takes
SERVER_START_S = 3
CONNECTED_SHARE_LEAST = 0.9
LOAD_EXTRA_S = 30  # to compile, settle and end


def metadata(table, folder, viewers=300, seconds=15):
    """The workers' CPU with viewers that have the channel less that with as many that have none."""
    row = f"metadata, {viewers} viewers"
    place = folder / "theatre"
    place.mkdir(parents=True)
    runs = {}
    for name, options in (("with", ()), ("without", ("--no-channel",))):
        # An appliance for each: the viewers of the first run would still be there when the second begins.
        (place / name).mkdir()
        with Theatre(place / name, server=f"viewers_max = {viewers + 10}") as theatre:
            pids = [pid for stage, pid in theatre.stages().items() if stage.startswith("fanout.")]
            runs[name] = load(f"{theatre.url}/whep/{theatre.stream}", viewers, seconds, pids,
                              "--token", theatre.token("expert"), "--metrics", theatre.metrics_url, *options)
    more = runs["with"]["cores"] - runs["without"]["cores"]
    peer = aiortc(seconds)
    peer_us = peer["cores"] / peer["messages_s"] * 1e6
    ours_us = more / runs["with"]["messages_s"] * 1e6
    times = f"x {peer_us / ours_us:.0f}" if ours_us > 0 else "too short a run to compare"
    table.add(row, "fan-out workers, more than without metadata", more, "cores", "<= 0.5", f"aiortc {peer_us * viewers * GRAINS_A_SECOND / 1e6:.1f}, scaled")
    table.add(row, "CPU a message, acknowledgements included", ours_us, "us", "<= 33", f"aiortc {peer_us:.0f} us ({times})")
    table.add(row, "messages a second that reached a viewer", runs["with"]["messages_s"] / runs["with"]["viewers"], "1/s", f"{GRAINS_A_SECOND}")
    table.add(row, "arrived of those sent", runs["with"]["arrived_share"] * 100, "%", "100", f"{runs['with']['skipped']:.0f} skipped for want of room")
    table.add(row, "connected", f"{runs['with']['viewers']}/{viewers}", "", "", f"aiortc {peer['viewers']}/{AIORTC_VIEWERS}")


def load(url, viewers, seconds, pids, *options):
    """What metaload.py measured. RuntimeError if it does not end, or too few viewers connect for the figures to say anything."""
    command = [sys.executable, "-m", "tests.bench.metaload", url, str(viewers), str(seconds), ",".join(map(str, pids)), *options]
    limit_s = viewers * STAGGER_S + CONNECT_LIMIT_S + seconds + LOAD_EXTRA_S
    try:
        ended = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True, timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{viewers} metadata viewers did not end within {limit_s:.0f} s: {(error.stderr or b'').decode()[-2000:]}") from None
    if ended.returncode:
        raise RuntimeError(f"the metadata viewers failed: {ended.stderr[-2000:]}")
    found = json.loads(ended.stdout.splitlines()[-1])
    if found["viewers"] < CONNECTED_SHARE_LEAST * viewers:
        raise RuntimeError(f"{found['viewers']} of {viewers} metadata viewers connected; the others: {'; '.join(found['why'])}")
    return found


def aiortc(seconds, viewers=AIORTC_VIEWERS):
    """The peer under the same load."""
    [port] = free_ports(1)
    server = subprocess.Popen([sys.executable, HERE / "peers" / "aiortc_metadata.py", str(port), str(MESSAGE_OCTETS)])
    try:
        time.sleep(SERVER_START_S)
        return load(f"http://127.0.0.1:{port}/", viewers, seconds, [server.pid], "--no-video")
    finally:
        server.kill()
        server.wait()
