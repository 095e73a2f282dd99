"""The sound stage's loop without its sockets: frames from a tape into the workers' rings."""
import pytest

from appliance.frame import KEYFRAME
from appliance.protocol import sdp
from appliance.sound.stage import Sound, make_tape
from appliance.topology import OPUS_SLOTS
from cext.sound import WHOLE
from tests.musician import PAYLOAD_TYPE, START_TAI_NS, Musician
from tests.workbench import Workbench

FRAMES = 2 * OPUS_SLOTS
PACKET_NS = 1_000_000


@pytest.fixture
def bench(tmp_path):
    """A sound stage's bench, somebody listening."""
    flow = sdp.AudioFlow(group="239.1.2.5", port=5008, payload_type=PAYLOAD_TYPE, rate_hz=48_000, channels=2, depth=24, packet_us=1000)
    (tmp_path / "sound.sdp").write_text(sdp.emit_audio(flow))
    bench = Workbench(tmp_path, "sound.scope", stream='audio = "sound.sdp"')
    for cell in bench.resources.counters.find_all("appliance_fanout_sound_listeners"):
        cell.set(1)
    yield bench
    for inherited in bench.stage.sockets.values():
        inherited.detach()
    bench.close()


def play(bench, readers) -> int:
    """FRAMES frames, of which the readers take each at once; how many frames the stage made."""
    stage, musician = bench.stage, Musician()
    tape = make_tape(stage.flows["scope"].audio, stage.config.streams[0])
    sound = Sound(stage.flows["scope"].audio, tape, list(stage.writers.values()), stage.counters, "scope")
    made = 0
    for number, packet in enumerate(musician.packets(10 * FRAMES + 10)):
        came_ns = number * PACKET_NS
        tape.packet(packet, START_TAI_NS + came_ns, came_ns)
        due = WHOLE if sound.wanted is None else tape.due(sound.wanted, came_ns)
        made += sound.step(due)
        for reader in readers:
            while (slot := reader.lease_next()) is not None:
                assert slot.flags & KEYFRAME and slot.payload_bytes
                slot.release()
    return made


def test_the_sound_goes_on_when_no_worker_takes_it(bench):
    """Every worker is short of time for a moment: what they miss is counted, and the stage does not end."""
    readers = [bench.reader_of(f"opus.scope.{worker}") for worker in range(2)]
    made = play(bench, [])
    assert made > OPUS_SLOTS
    assert bench.value("appliance_frames_dropped_total", reason="no_slot") == 2 * (made - OPUS_SLOTS)
    for reader in readers:
        while (slot := reader.lease_next()) is not None:
            slot.release()
    assert play(bench, readers) > OPUS_SLOTS
    assert bench.value("appliance_frames_dropped_total", reason="no_slot") == 2 * (made - OPUS_SLOTS), "once they take it again, nothing more is lost"


def test_a_worker_that_is_short_of_time_takes_nothing_from_the_others(bench):
    quick, _ = (bench.reader_of(f"opus.scope.{worker}") for worker in range(2))
    made = play(bench, [quick])
    assert bench.value("appliance_frames_dropped_total", reason="no_slot") == made - OPUS_SLOTS
    assert quick.skipped == 0 and bench.observed("appliance_stage_latency_seconds") == made
