"""Frames from packets of every format: fields, PsF, two-row pgroups, odd heights, block packing, large packets."""
import pytest

from appliance.frame import INCOMPLETE, SECOND_FIELD, VideoFormat
from appliance.protocol import rfc4175
from appliance.protocol.rtp import parse
from tests.camera import FRAME_NS, Assembled, Camera, play, remarked, rows

SECOND_NS = 10**9
SAMPLINGS = [("YCbCr-4:2:2", 8), ("YCbCr-4:2:2", 12), ("YCbCr-4:2:2", 16), ("YCbCr-4:4:4", 10), ("RGB", 8), ("RGB", 16), ("YCbCr-4:2:0", 8), ("YCbCr-4:2:0", 10)]
FIELDS = VideoFormat(64, 41, interlaced=True)
PSF = VideoFormat(64, 41, interlaced=True, segmented=True)


@pytest.mark.parametrize("scan", [{}, {"interlaced": True}, {"interlaced": True, "segmented": True}], ids=["p", "i", "PsF"])
@pytest.mark.parametrize("sampling, depth", SAMPLINGS)
def test_every_format_arrives_whole(sampling, depth, scan):
    if sampling == "YCbCr-4:2:0" and scan:
        scan = {}  # it has no fields
    format = VideoFormat(64, 40 if sampling == "YCbCr-4:2:0" else 41, sampling, depth, **scan)
    blocks = tuple(rfc4175.block_split(format))
    for split in ((7, 3), blocks, (8900 // format.pgroup.octets,)):
        bench, camera = Assembled(format), Camera(format, split)
        play(bench, camera, 4)
        assert [frame.samples for frame in bench.frames] == camera.sent
        assert [frame.flags for frame in bench.frames] == ([0, SECOND_FIELD] * 2 if format.by_fields else [0] * 4)
        assert {frame.payload_bytes for frame in bench.frames} == {format.frame_bytes}
        assert bench.count("packets") > 4 and bench.count("late") == bench.count("lost") == 0
        bench.close()


def test_each_field_is_published_with_its_last_packet_under_its_own_time():
    bench, camera = Assembled(FIELDS), Camera(FIELDS)
    times = []
    for _ in range(2):
        times.append(camera.timestamp)
        packets = camera.frame()
        assert bench.feed(packets[:-1]) == [] and len(bench.feed(packets[-1:])) == 1
    assert [frame.rtp_timestamp for frame in bench.frames] == times
    bench.close()


def test_fields_that_share_a_time_are_set_half_a_frame_apart():
    bench, camera = Assembled(FIELDS, frame_interval_ns=FRAME_NS), Camera(FIELDS)
    for _ in range(3):
        time = camera.timestamp
        bench.feed(camera.frame() + [remarked(packet, timestamp=time) for packet in camera.frame()])
        assert [frame.rtp_timestamp for frame in bench.frames[-2:]] == [time, time + 1800]
    assert [frame.samples for frame in bench.frames] == camera.sent
    assert {frame.flags for frame in bench.frames} == {0, SECOND_FIELD}
    bench.close()


def test_packets_swapped_between_two_fields_find_theirs():
    bench, camera = Assembled(FIELDS), Camera(FIELDS)
    first, second = camera.frame(), camera.frame()
    bench.feed(first[:-3] + second[:5] + first[-3:] + second[5:])
    assert [frame.samples for frame in bench.frames] == camera.sent
    bench.close()


def test_a_hole_in_a_field_shows_the_other_fields_row_and_never_an_older_one():
    bench, camera = Assembled(FIELDS), Camera(FIELDS, split=(32,))
    play(bench, camera, 4)
    for _ in range(2):  # one row a packet: the last and the eleventh are lost, of the first field and of the second
        packets = camera.frame()
        bench.feed(packets[:10] + packets[11:-1])
        bench.wait(FRAME_NS)
    bench.wait(SECOND_NS)
    first, second = bench.frames[4:]
    assert (first.flags, first.rows_missing, second.flags, second.rows_missing) == (INCOMPLETE, 2, INCOMPLETE | SECOND_FIELD, 2)
    # The second field before it had no row 20: its slot repeats row 19 there.
    before = rows(camera.sent[3], FIELDS)
    assert rows(first.samples, FIELDS)[10] == before[10] and rows(first.samples, FIELDS)[20] == before[20] == before[19]
    assert rows(second.samples, FIELDS)[10] == before[10] and rows(second.samples, FIELDS)[19] == rows(camera.sent[4], FIELDS)[19]
    bench.close()


def test_a_lost_field_leaves_the_next_one_what_it_is():
    bench, camera = Assembled(FIELDS), Camera(FIELDS)
    play(bench, camera, 2)
    camera.frame()
    play(bench, camera, 1)
    assert [frame.flags for frame in bench.frames] == [0, SECOND_FIELD, SECOND_FIELD]
    assert bench.frames[-1].samples == camera.sent[3]
    bench.close()


def test_the_first_segments_marker_does_not_end_a_psf_frame():
    bench, camera = Assembled(PSF), Camera(PSF)
    packets = camera.frame()
    marked = [number for number, packet in enumerate(packets) if parse(packet).header.marker]
    assert marked == [21 * 4 - 1, 41 * 4 - 1]
    del packets[3]  # with a hole before it
    assert bench.feed(packets[:-1]) == [] and bench.count("markers_early") == 0
    bench.feed(packets[-1:] + camera.frame())
    assert [(frame.flags, frame.rows_missing) for frame in bench.frames] == [(INCOMPLETE, 1), (0, 0)]
    bench.close()


def test_a_hole_in_a_row_of_two_row_pgroups_is_two_rows():
    format = VideoFormat(64, 40, "YCbCr-4:2:0", 8)
    bench, camera = Assembled(format), Camera(format, (32,))
    packets = camera.frame()
    bench.feed(packets[:5] + packets[6:])
    bench.wait(SECOND_NS)
    assert bench.frames[0].rows_missing == 2
    bench.close()
