"""Frame instants and RTP time as ST 2110-10 has them, and the video's SDP."""
import argparse
import itertools
from fractions import Fraction

import pytest

from appliance import clock
from appliance.protocol import sdp
from appliance.source.options import add_arguments, plan
from appliance.source.sender import Sender, frame_instant_ns

RATES = [Fraction(50), Fraction(25), Fraction(60), Fraction(60000, 1001), Fraction(30000, 1001), Fraction(24000, 1001)]


@pytest.mark.parametrize("rate", RATES, ids=str)
def test_a_frames_rtp_time_is_its_number_times_the_frame_time(rate):
    for number in itertools.chain(range(5), range(int(1.8e9 * rate), int(1.8e9 * rate) + 200)):
        assert clock.rtp_timestamp(frame_instant_ns(number, rate)) == int(number * 90_000 / rate) % 2**32


def test_59_94_steps_by_1501_and_1502_in_turn():
    first = int(1.8e9 * 59.94)
    stamps = [clock.rtp_timestamp(frame_instant_ns(number, RATES[3])) for number in range(first, first + 9)]
    steps = [later - earlier for earlier, later in zip(stamps, stamps[1:])]
    assert sorted(set(steps)) == [1501, 1502]
    assert all(one != next_one for one, next_one in zip(steps, steps[1:]))


def test_the_sdp_files_read_back(tmp_path):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    folder = tmp_path / "new" / "folder"
    sender = Sender(plan(parser.parse_args(["--size", "640x360", "--rate", "59.94", "--depth", "8", "--sdp-dir", str(folder), "--name", "scope"])))
    try:
        sender.write_sdp()
        line = sender.describe()
    finally:
        sender.close()
    assert sorted(path.name for path in folder.iterdir()) == ["scope-metadata.sdp", "scope.sdp"]
    flow = sdp.video_flow((folder / "scope.sdp").read_text(), "scope.sdp")
    assert (flow.format.width, flow.format.height, flow.format.depth, flow.format.rate) == (640, 360, 8, Fraction(60000, 1001))
    assert (flow.group, flow.port, flow.source_address, flow.payload_type, flow.rate_hz) == ("239.20.22.1", 5004, "127.0.0.1", 96, 90_000)
    assert flow.mediaclk_offset == 0 and not flow.notes
    assert "640x360p59.94" in line and "239.20.22.2:5006" in line
