"""The encode stage: one process for a codec and for the audiences that are shown the same pixels, one thread for each level.

Started by the supervisor. Invariant: it shows life only while every thread waits or gets on; an error in one thread ends them all.
The threads share only what is known of the encoders: each has its own place at the planar ring, its own units rings and its own counters.
"""
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from appliance import clock
from appliance.encode.choice import Encoders
from appliance.encode.encoding import Encoding
from appliance.frame import Rendition
from appliance.runtime.stage import HEARTBEAT_INTERVAL_S, Stage

STUCK_NS = 1_000_000_000
"""A thread that has worked on one frame for longer is stuck: the heartbeat stops until it gets on, or the supervisor ends the stage."""


def run(stage: Stage) -> None:
    """Encodes until the stage is told to stop, or a thread fails: then its error is raised."""
    encodings = encodings_of(stage)
    with ThreadPoolExecutor(len(encodings)) as threads:
        running = [threads.submit(encoding.run) for encoding in encodings]
        stage.ready()
        try:
            _watch(stage, encodings, running)
        finally:
            for encoding in encodings:
                encoding.stop()


def encodings_of(stage: Stage) -> list[Encoding]:
    """One for each coding that the stage makes, from the best to the humblest."""
    _, stream, name = stage.name.split(".", 2)
    encoders = Encoders(stage.config.encoder.h264)
    return [Encoding(stage, coding, reader, encoders) for coding, reader in zip(Rendition.named(name).levels, stage.places[f"planar.{stream}"])]


def _watch(stage: Stage, encodings: list[Encoding], running: list[Future]) -> None:
    while not stage.stopping:
        ended, _ = wait(running, HEARTBEAT_INTERVAL_S, FIRST_COMPLETED)
        for thread in ended:
            thread.result()
        if alive(encodings, clock.monotonic_ns()):
            stage.beat()


def alive(encodings: list[Encoding], now_ns: int) -> bool:
    """Whether every thread waits, or has worked on its frame for no longer than it may."""
    return all(encoding.busy_ns(now_ns) <= STUCK_NS for encoding in encodings)
