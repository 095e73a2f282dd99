"""What the sound stage says of its flow: that it is lost, and for how long it has been silent."""
import socket

import pytest

from appliance.protocol import sdp
from appliance.runtime.log import GoodNews
from appliance.sound.accounts import Accounts
from cext.sound import Listening
from tests.musician import Musician, Taped
from tests.workbench import Workbench

SECOND_NS = 10**9


@pytest.fixture
def accounted(tmp_path):
    """Accounts of a bench's sound stage, the tape that they move, and a way to pass a second in which a musician plays at a level (None: not at all)."""
    flow = sdp.AudioFlow(group="239.1.2.5", port=5008, payload_type=97, rate_hz=48_000, channels=2, depth=24, packet_us=1000)
    (tmp_path / "sound.sdp").write_text(sdp.emit_audio(flow))
    bench = Workbench(tmp_path, "sound.scope", stream='audio = "sound.sdp"')
    receiver, taped = socket.socket(type=socket.SOCK_DGRAM), Taped(Musician())
    accounts, listening, now_ns = Accounts(flow, bench.stage.counters, 0), Listening([receiver.fileno()], taped.tape), 0

    def second(level):
        nonlocal now_ns
        now_ns += SECOND_NS
        if level is not None:
            taped.musician.level = level
            taped.feed(taped.musician.packets(100))
            taped.take(90 * 48, taped.musician.tick - 100 * 48 << 32)
            accounts.heard(now_ns)
        return accounts.move(taped.tape, listening, None, now_ns)

    yield second, lambda name: bench.resources.counters.find("sound.scope", f"appliance_sound_{name}").value
    receiver.close()
    for inherited in bench.stage.sockets.values():
        inherited.detach()
    bench.close()


def test_a_microphone_that_is_off_is_silent_until_it_is_heard(accounted):
    second, shown = accounted
    for level in (0.5, 0.0, 0.0, 0.0):
        second(level)
    assert shown("silent_seconds") == 3
    second(0.0005)
    assert shown("silent_seconds") == 0, "a quiet room is not silent"


def test_what_is_lost_is_not_called_silent(accounted):
    second, shown = accounted
    second(0.5)
    told = [second(None) for _ in range(3)]
    assert shown("lost") == 1 and shown("silent_seconds") == 0 and shown("peak_ratio") == 0
    assert sum(map(len, told)) == 1 and "no sound comes from 239.1.2.5:5008" in str(told)
    [news] = second(0.5)
    assert news == "the sound is back" and isinstance(news, GoodNews) and not isinstance(sum(told, [])[0], GoodNews)
