"""The table: what is laid out for a configuration, and how much memory that takes."""
from dataclasses import replace
from fractions import Fraction

import pytest

from appliance import config, descriptions, topology
from appliance.frame import CODINGS, RENDITIONS, PlanarFormat, Rendition, VideoFormat
from appliance.protocol import sdp
from appliance.runtime.plan import Flows

READERS_MAX = 16  # RING_READERS_MAX in cext/kernels/ring.h
TEXT = """
[server]
fanout_workers = {workers}
[encoder]
{encoder}
[[stream]]
name = "scope"
interface = "lo"
video = "scope.sdp"
"""


@pytest.fixture
def lay_out(tmp_path):
    def lay_out(video=VideoFormat(1280, 720), workers=2, encoder=""):
        (tmp_path / "scope.sdp").write_text(sdp.emit_video(sdp.VideoFlow(format=video, group="239.1.2.3", port=5004, payload_type=96)))
        parsed = config.parse(TEXT.format(workers=workers, encoder=encoder), tmp_path / "appliance.toml")
        return topology.lay_out(parsed, descriptions.read_all(parsed.streams).flows)
    return lay_out


def ring(laid_out, name):
    return next(ring for ring in laid_out.rings if ring.name == name)


def test_two_stages_encode_a_stream_and_each_makes_three_codings(lay_out):
    laid_out = lay_out()
    stages = [stage.name for stage in laid_out.stages if stage.module == "appliance.encode"]
    assert stages == ["encode.scope.expert", "encode.scope.expert.vp8"]
    made = {stage: [spec.name.removeprefix("units.scope.") for spec in laid_out.rings if spec.writer == stage] for stage in stages}
    assert made["encode.scope.expert"] == ["expert.0", "expert.half.0", "expert.small.0", "expert.1", "expert.half.1", "expert.small.1"]
    assert sum(len(rings) for rings in made.values()) == 2 * len(CODINGS)


def test_a_worker_has_a_place_at_a_units_ring_for_every_rendition_that_is_made_of_it(lay_out):
    laid_out = lay_out()
    assert ring(laid_out, "units.scope.expert.small.1").readers == ("fanout.1", "fanout.1")
    places = [reader for spec in laid_out.rings if spec.name.startswith("units.") for reader in spec.readers]
    assert {worker: places.count(worker) for worker in set(places)} == {"fanout.0": len(RENDITIONS), "fanout.1": len(RENDITIONS)}


def test_every_demand_of_a_worker_names_the_coding_that_answers_it(lay_out):
    asked = [dict(series.labels) for series in lay_out().series if series.metric.name in ("appliance_fanout_viewers", "appliance_fanout_keyframe_requests_total")]
    assert len(asked) == 2 * 2 * len(RENDITIONS)
    assert all(labels["coding"] == Rendition.named(labels["rendition"]).coding.name for labels in asked)


def test_each_coding_has_its_own_place_at_the_planar_ring(lay_out):
    readers = ring(lay_out(), "planar.scope").readers
    assert readers == 3 * ("encode.scope.expert",) + 3 * ("encode.scope.expert.vp8",) and len(readers) <= READERS_MAX


def test_every_coding_of_a_stage_counts_in_cells_of_its_own(lay_out):
    laid_out = lay_out()
    for segment in laid_out.segments:
        cells = [cell for series in segment.series for cell in range(series.first, series.first + series.cells)]
        assert cells == list(range(len(cells))), segment.name
    spec = next(stage for stage in laid_out.stages if stage.name == "encode.scope.expert.vp8")
    counted = [dict(series.labels)["rendition"] for series in spec.series if series.metric.name == "appliance_encode_frames_total"]
    assert counted == ["expert.vp8", "expert.vp8.half", "expert.vp8.small"]
    assert [series.metric.name for series in spec.series].count("appliance_stage_heartbeat_monotonic_seconds") == 1


@pytest.mark.parametrize("video, workers, most_mib", [(VideoFormat(1280, 720), 2, 36), (VideoFormat(1920, 1080), 2, 80), (VideoFormat(1280, 720), 8, 72)])
def test_the_rings_of_a_stream_take_a_bounded_amount_of_memory(lay_out, video, workers, most_mib):
    assert sum(spec.total_bytes for spec in lay_out(video, workers).rings) < most_mib << 20


def test_a_units_ring_holds_the_same_time_on_every_level_and_a_keyframe_of_noise(lay_out):
    laid_out = lay_out()
    full, half, small = (ring(laid_out, f"units.scope.{name}.1") for name in ("expert", "expert.half", "expert.small"))
    assert (full.slots, half.slots, small.slots) == (8, 4, 4)
    # Measured: libvpx makes 193,214 octets of a 1280x720 frame of noise, and 49,321 of a 640x360 one.
    assert full.slot_bytes == half.slot_bytes >= 193_214 and full.slot_bytes > small.slot_bytes >= 49_321
    assert ring(lay_out(VideoFormat(1280, 720, rate=Fraction(25))), "units.scope.expert.half.0").slots == 8


def test_a_high_bit_rate_gets_larger_slots_up_to_what_the_fan_out_packetises(lay_out):
    laid_out = lay_out(encoder="bitrate_kbps = 40000\nbitrate_half_kbps = 100000\nbitrate_small_kbps = 30")
    sizes = [ring(laid_out, f"units.scope.{name}.0").slot_bytes for name in ("expert", "expert.half", "expert.small")]
    assert sizes == [600_000, topology.UNIT_BYTES_MAX, topology.UNIT_BYTES_MIN]


def test_planar_slots_hold_the_frame_in_work_of_every_reader_that_codes_it_in_place(lay_out):
    planar = ring(lay_out(), "planar.scope")
    in_place = sum(rendition.level.raster_of(1280, 720) == (1280, 720) for rendition in CODINGS)
    assert planar.slots >= in_place + 3 and planar.slot_bytes == PlanarFormat(1280, 720).frame_bytes


def changed(tmp_path, change_flow=lambda flow: flow, **change_stream):
    """The stages that must be started anew when the stream "scope" beside another one changes so."""
    text = TEXT.format(workers=2, encoder="") + '[[stream]]\nname = "room"\ninterface = "lo"\nvideo = "room.sdp"\n'
    parsed = config.parse(text, tmp_path / "appliance.toml")
    flow = sdp.VideoFlow(format=VideoFormat(1280, 720), group="239.1.2.3", port=5004, payload_type=96)
    flows = {name: Flows(flow) for name in ("scope", "room")}
    after = replace(parsed, streams=(replace(parsed.streams[0], **change_stream), parsed.streams[1]))
    old, new = topology.lay_out(parsed, flows), topology.lay_out(after, flows | {"scope": Flows(change_flow(flow))})
    return topology.changed_stages(old, new)


ENCODERS = {"encode.scope.expert", "encode.scope.expert.vp8"}


def test_only_stages_that_are_made_of_what_changed_are_started_anew(tmp_path):
    assert changed(tmp_path) == changed(tmp_path, title="Another") == set()
    assert changed(tmp_path, lambda flow: replace(flow, notes=("words",), title="Camera 2")) == set()
    assert changed(tmp_path, lambda flow: replace(flow, port=6000)) == changed(tmp_path, interfaces=("eth1",)) == {"ingest.scope"}
    assert changed(tmp_path, lambda flow: replace(flow, format=VideoFormat(640, 360))) == {"ingest.scope", "convert.scope"} | ENCODERS
    assert changed(tmp_path, lambda flow: replace(flow, format=VideoFormat(1280, 720, colorimetry="BT2020"))) >= ENCODERS


def test_a_stream_that_waits_has_no_part_and_one_that_comes_or_goes_touches_no_other(tmp_path):
    parsed = config.parse(TEXT.format(workers=2, encoder="") + '[[stream]]\nname = "room"\ninterface = "lo"\nvideo = "r"\n', tmp_path / "appliance.toml")
    flow = Flows(sdp.VideoFlow(format=VideoFormat(1280, 720), group="239.1.2.3", port=5004, payload_type=96))
    one, both = topology.lay_out(parsed, {"scope": flow}), topology.lay_out(parsed, {"scope": flow, "room": flow})
    assert not any("room" in spec.name for spec in (*one.stages, *one.rings))
    assert [spec.name for spec in one.segments if "room" in spec.name] == ["counters supervisor room"]
    assert topology.changed_stages(one, both) == set()
    assert topology.changed_stages(both, one) == {spec.name for spec in both.stages if spec.stream == "room"}


PACS = '\n[pacs]\ndicomweb = "https://pacs.example/dicom-web"\nhistory_ms = 600'


def test_the_hospitals_stage_looks_back_at_rings_that_hold_what_has_passed(lay_out):
    with_pacs, without = lay_out(encoder=PACS), lay_out()
    assert "hospital" not in [stage.name for stage in without.stages] and not any("hospital" in spec.readers for spec in without.rings)
    [spec] = [stage for stage in with_pacs.stages if stage.name == "hospital"]
    assert spec.apart and not spec.reads_all and not any(stage.apart for stage in with_pacs.stages if stage is not spec)
    raw = ring(with_pacs, "raw.scope")
    assert raw.readers == ("convert.scope", "hospital") and raw.slots == ring(without, "raw.scope").slots + 30 + 1, "600 ms at 50 a second"


def test_the_history_of_a_large_raster_is_bounded(lay_out):
    raw = ring(lay_out(VideoFormat(3840, 2160, rate=Fraction(60)), encoder=PACS.replace("600", "3000")), "raw.scope")
    assert raw.total_bytes <= topology.HISTORY_BYTES_MAX + (topology.RAW_SLOTS + 1) * raw.slot_bytes
