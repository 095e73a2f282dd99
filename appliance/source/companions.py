"""Metadata beside the picture's: a flow that describes the sound, and one that says that picture and sound belong together (PS3.22 section 6.1).

Called by sender.py where both sound and metadata are sent. Two grains a second each, whole, for nothing in them changes with a frame.
"""
from collections.abc import Callable

from appliance import clock
from appliance.protocol import sdp
from appliance.protocol.dicom_rtv import AUDIO_WAVEFORM, RENDITION_SELECTION, ST2110_30_PCM, build_grain, frame_time_item
from appliance.source import case
from appliance.source.metadata import EXTENSION_IDS, PAYLOAD_TYPE, GrainPackets, MetadataFlow, identity
from appliance.source.options import Plan

PORTS_APART = {"sound-metadata": 4, "rendition": 6}
"""Of each companion from the picture's metadata, at whose group it is."""
_VIDEO_RATE_HZ = 90_000


class Companion:
    """One such flow. `suffix` names it in its SDP file."""

    def __init__(self, suffix: str, plan: Plan, rate_hz: int, grain: Callable[[int], bytes], source_id: bytes, flow_id: bytes) -> None:
        """`grain`: the payload for an instant, TAI nanoseconds."""
        self.suffix, self._rate_hz, self._grain = suffix, rate_hz, grain
        self.flow = sdp.MetadataFlow(group=plan.metadata_group, port=plan.metadata_port + PORTS_APART[suffix], source_address=plan.source_address,
                                     payload_type=PAYLOAD_TYPE, rate_hz=rate_hz, extension_ids=EXTENSION_IDS, title=f"{plan.name}, synthetic {suffix}")
        self._packets = GrainPackets(source_id, flow_id)

    def packets(self, instant_tai_ns: int) -> list[bytes]:
        """The packets of the grain of an instant."""
        return self._packets.of(self._grain(instant_tai_ns), instant_tai_ns, clock.rtp_timestamp(instant_tai_ns, self._rate_hz), (1, 2))


def companions(plan: Plan, picture: MetadataFlow) -> list[Companion]:
    """Both, beside a picture's metadata flow."""
    rate_hz = plan.sound.rate_hz
    sound_uid, rendition_uid = case.new_uid(), case.new_uid()
    ids = {suffix: (identity(plan, f"{suffix} source"), identity(plan, f"{suffix} flow")) for suffix in PORTS_APART}
    sound = case.sound_part(picture.static, sound_uid, identity(plan, "sound source"), identity(plan, "sound flow"), rate_hz)
    rendition = build_grain(case.rendition_part(picture.static, sound, rendition_uid), None, instance_uid=rendition_uid, source_id=ids["rendition"][0],
                            flow_id=ids["rendition"][1], sop_class_uid=RENDITION_SELECTION)

    def sound_grain(instant_tai_ns: int) -> bytes:
        return build_grain(sound, frame_time_item(instant_tai_ns), instance_uid=sound_uid, source_id=ids["sound-metadata"][0],
                           flow_id=ids["sound-metadata"][1], rate_hz=rate_hz, transfer_syntax_uid=ST2110_30_PCM, sop_class_uid=AUDIO_WAVEFORM)

    return [Companion("sound-metadata", plan, rate_hz, sound_grain, *ids["sound-metadata"]),
            Companion("rendition", plan, _VIDEO_RATE_HZ, lambda _: rendition, *ids["rendition"])]
