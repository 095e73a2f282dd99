"""Second opinions: pyst2110 on our packets and geometry, sdpoker and pyst2110 on every SDP that we write."""
import argparse
import json
import subprocess
from pathlib import Path

import numpy as np
import pyst2110
import pytest

from appliance.frame import PGROUPS, VideoFormat
from appliance.protocol import rfc4175, rtp, sdp, timing
from appliance.source import metadata
from appliance.source.options import add_arguments, plan
from cext import rfc4175 as kernel

SDPOKER = Path(__file__).parents[2] / "sdpoker"
SCANS = ({}, {"interlaced": True}, {"interlaced": True, "segmented": True})
FORMATS = [VideoFormat(64, height, sampling, depth, **scan) for sampling, pgroups in PGROUPS.items() for depth in pgroups for scan in SCANS for height in (20, 21)
           if "4:2:0" not in sampling]
"""What pyst2110 knows; it refuses 4:2:0."""


def emitted(format, **fields):
    return sdp.emit_video(sdp.VideoFlow(format=format, group="239.1.2.3", port=5004, source_address="192.0.2.1", payload_type=96, sender_type=timing.WIDE, **fields))


@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_pyst2110_reads_our_sdp_and_finds_the_same_geometry(format):
    video = pyst2110.parse_video_format(emitted(format, maxudp=8960))
    assert (video.width, video.height, video.frame_rate, video.depth, video.sampling) == (format.width, format.height, format.rate, format.depth, format.sampling)
    assert (video.interlaced, video.max_udp, video.colorimetry) == (format.interlaced, 8960, format.colorimetry)
    assert pyst2110.pgroup(video) == (format.pgroup.octets, format.pgroup.pixels)
    assert pyst2110.line_bytes(video) == format.raw_row_bytes
    assert pyst2110.rows_per_field(video) == format.wire_rows()


@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_pyst2110_reads_our_packets_as_our_kernel_does(format):
    video, pgroup, sequence = pyst2110.parse_video_format(emitted(format)), format.pgroup, 0x0001_FFF0
    for second in rfc4175.parts(format):
        payloads = list(rfc4175.packetise(bytes(format.frame_bytes), format, [7, 30, 3], sequence, second))
        packets = [rtp.build(rtp.RtpHeader(96, sequence + number & 0xFFFF, 1234, 77, number == len(payloads) - 1), payload, {3: b"abc"} if number % 3 == 0 else None)
                   for number, payload in enumerate(payloads)]
        chunk, sizes = np.zeros((len(packets), max(map(len, packets))), np.uint8), np.array([len(packet) for packet in packets])
        for row, packet in zip(chunk, packets):
            row[:len(packet)] = np.frombuffer(packet, np.uint8)
        headers = pyst2110.parse_rtp(chunk, sizes)
        theirs = pyst2110.parse_payload_headers(chunk, headers.payload_offset, sizes)
        assert not theirs.overflowed.any() and not theirs.unreadable.any()
        assert pyst2110.fits_raster(video, theirs.line, theirs.offset_samples).all()
        place = pyst2110.raster_offset(video, theirs.line, theirs.offset_samples)
        for number, packet in enumerate(packets):
            ours = kernel.read(packet, 96, format.width, format.height, pgroup.octets, pgroup.columns, pgroup.rows, format.scan)
            assert ours[0] == int(theirs.extended_sequence[number]) << 16 | int(headers.sequence[number])
            assert ours[1:4] == (int(headers.timestamp[number]), int(headers.ssrc[number]), bool(headers.marker[number]))
            mine = theirs.packet == number
            read = zip(theirs.line[mine], theirs.field[mine], theirs.offset_samples[mine], theirs.length[mine])
            assert [segment[:4] for segment in ours[4]] == [tuple(part.item() for part in segment) for segment in read]
            if not format.segmented:
                assert [segment[5] * pgroup.octets for segment in ours[4]] == list(place[mine])
        sequence += len(packets)


def test_sdpoker_has_nothing_against_any_sdp_that_the_source_writes():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    files = {}
    for number, arguments in enumerate((
            "", "--depth 8 --rate 59.94", "--size 1920x1080 --rate 29.97 --interlace", "--sampling RGB --depth 12 --packing bpm --range full --colorimetry bt2020",
            "--sampling 4:2:0 --depth 16 --range fullprotect --colorimetry bt601", "--sampling 4:4:4 --maxudp 8960 --group 127.0.0.1", "--segmented --rate 25")):
        order = plan(parser.parse_args(arguments.split()))
        flow = sdp.VideoFlow(format=order.format, group=order.group, port=order.port, source_address=order.source_address, payload_type=96,
                             sender_type=timing.WIDE, maxudp=order.maxudp, title="a camera")
        files[arguments or "as it is"] = sdp.emit_video(flow)
        files[f"metadata {number}"] = sdp.emit_metadata(metadata.flow(order))
    run = subprocess.run(["node", SDPOKER / "check.js"], input=json.dumps(files), capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"{run.stderr}: make test installs sdpoker"
    told = json.loads(run.stdout)
    # sdpoker looks for `interlaced` beside `segmented`; the flag's name is `interlace` (ST 2110-20 section 7.3).
    [slip] = told.pop("--segmented --rate 25")
    assert "'segmented' is signalled without 'interlaced'" in slip
    # It reads video alone in a file without an m=video line, too, and must see what is wrong with one.
    assert {name: errors for name, errors in told.items() if errors and not name.startswith("metadata")} == {}
    assert len(told) == len(files) - 1


def test_sdpoker_would_have_told():
    text = emitted(VideoFormat(1280, 720)).replace("TCS=SDR", "TCS=MOON")
    run = subprocess.run(["node", SDPOKER / "check.js"], input=json.dumps({"wrong": text}), capture_output=True, text=True, check=True)
    assert any("TCS" in error for error in json.loads(run.stdout)["wrong"])
