"""The metadata flow: templates equal the truth, grains come through their packets, the static part is complete."""
import argparse
import struct
from fractions import Fraction

import pytest

from appliance.protocol import dicom_rtv, icc, rtp, sdp
from appliance.protocol.grain import GrainAssembler
from appliance.source import metadata
from appliance.source.instrument import Pose
from appliance.source.options import add_arguments, plan

POSE = Pose(640.25, 359.875, 0.3, 181.5, 36.94)
INSTANT_NS = 1_800_000_000_123_456_789
# Source: PS3.3 A.32.9 and the modules it names; Type 1 and 2 without a condition, and the conditions that hold here.
TYPE_1 = """SOPClassUID SOPInstanceUID SpecificCharacterSet StudyInstanceUID Modality SeriesInstanceUID Manufacturer ManufacturerModelName
 DeviceSerialNumber SoftwareVersions SynchronizationFrameOfReferenceUID SynchronizationTrigger AcquisitionTimeSynchronized TimeDistributionProtocol
 ImageType SamplesPerPixel PhotometricInterpretation BitsAllocated BitsStored HighBit PixelRepresentation PlanarConfiguration ICCProfile
 StereoPairsPresent RealTimeBulkDataFlowSequence SharedFunctionalGroupsSequence""".split()
TYPE_2 = """PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime ReferringPhysicianName StudyID AccessionNumber SeriesNumber
 InstanceNumber PatientOrientation ContentDate ContentTime LossyImageCompression AcquisitionContextSequence""".split()


def order(*arguments):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return plan(parser.parse_args(arguments))


@pytest.fixture(scope="module")
def flow():
    return metadata.MetadataFlow(order())


@pytest.mark.parametrize("number", [25, 26, 0x1_0000 + 25], ids=["static", "dynamic", "number wrapped"])
def test_a_template_equals_the_grain_built_element_by_element(flow, number):
    for pose, instant in ((POSE, INSTANT_NS), (Pose(-0.5, 0.0, 0.0, 0.0, -273.15), 0)):
        static = flow.static if flow.has_static(number) else None
        assert flow.payload(instant, number, pose) == flow.build(static, instant, number, pose)


def test_grains_come_through_their_packets(flow):
    receiver = GrainAssembler(metadata.PAYLOAD_TYPE, metadata.FLAGS)
    for number in range(24, 28):
        timestamp = 4_000_000_000 + 1800 * number
        packets = flow.packets(INSTANT_NS, timestamp, number, POSE)
        grains = [grain for packet in packets for grain in receiver.receive(packet, 0)]
        assert [grain.payload for grain in grains] == [flow.payload(INSTANT_NS, number, POSE)]
        assert grains[0].rtp_timestamp == timestamp & 0xFFFF_FFFF
    assert not receiver.dropped and not receiver.malformed and receiver.lost == 0


def test_a_static_grain_takes_two_packets_with_start_and_end(flow):
    packets = [rtp.parse(packet, metadata.PAYLOAD_TYPE) for packet in flow.packets(INSTANT_NS, 7, 0, POSE)]
    assert [packet.elements[metadata.FLAGS] for packet in packets] == [b"\x80", b"\x40"]
    assert [packet.header.marker for packet in packets] == [False, True]
    assert all(packet.profile == 0xBEDE for packet in packets)


def test_the_first_packet_says_when_and_whose(flow):
    elements = rtp.parse(flow.packets(INSTANT_NS, 7, 1, POSE)[0]).elements
    assert elements[metadata.ORIGIN] == elements[metadata.SYNC] == (1_800_000_000).to_bytes(6, "big") + (123_456_789).to_bytes(4, "big")
    assert elements[metadata.DURATION] == struct.pack(">II", 1, 50)
    assert elements[metadata.FLAGS] == b"\xC0"
    meta = dicom_rtv.parse_grain(flow.payload(INSTANT_NS, 1, POSE)).meta
    assert (elements[metadata.SOURCE], elements[metadata.FLOW]) == (meta.RTVSourceIdentifier, meta.RTVFlowIdentifier)


def test_packets_fit_the_standard_udp_size(flow):
    assert all(len(packet) <= 1452 for number in range(4) for packet in flow.packets(INSTANT_NS, 7, number, POSE))


def test_the_dynamic_part_tells_the_tip_and_the_live_values(flow):
    item = dicom_rtv.parse_grain(flow.payload(INSTANT_NS, 77, POSE)).dynamic
    instrument = item.private_block(0x0099, dicom_rtv.INSTRUMENT_CREATOR)[0x01].value[0].private_block(0x0099, dicom_rtv.INSTRUMENT_CREATOR)
    assert list(instrument[0x03].value) == [POSE.tip_x, POSE.tip_y]
    assert (instrument[0x04].value, instrument[0x05].value) == (POSE.insertion_mm, POSE.temperature_c)
    assert item.FrameContentSequence[0].FrameAcquisitionNumber == 77
    assert item.FrameUsefulnessGroupSequence[0].IncludesImagingSubject == "YES"


@pytest.mark.parametrize("rate", ["50", "59.94", "25", "1"])
def test_the_static_part_comes_at_least_twice_a_second_where_frames_allow(rate):
    flow = metadata.MetadataFlow(order("--rate", rate))
    frames = [number for number in range(1000, 1400) if flow.has_static(number)]
    assert max(later - earlier for earlier, later in zip(frames, frames[1:])) <= max(1, Fraction(rate) / 2)


def test_the_static_part_has_every_element_of_type_1_and_2(flow):
    static = dicom_rtv.parse_grain(flow.payload(INSTANT_NS, 0, POSE)).static
    for keyword in TYPE_1:
        assert static.get(keyword) not in (None, ""), keyword
    for keyword in TYPE_2:
        assert keyword in static, keyword
    assert static.TimeDistributionProtocol == "PTP" and static.Modality == "ES"
    assert static.SOPInstanceUID == flow.instance_uid
    assert "Zoë" in str(static.PatientName)


def test_the_static_part_points_to_the_video_not_to_itself(flow):
    grain = dicom_rtv.parse_grain(flow.payload(INSTANT_NS, 0, POSE))
    described = grain.static.RealTimeBulkDataFlowSequence[0]
    assert described.SourceIdentifier != grain.meta.RTVSourceIdentifier
    assert described.FlowIdentifierSequence[0].FlowIdentifier != grain.meta.RTVFlowIdentifier
    assert described.FlowIdentifierSequence[0].FlowRTPSamplingRate == grain.meta.RTVFlowRTPSamplingRate == 90_000
    assert described.FlowIdentifierSequence[0].FlowTransferSyntaxUID == grain.meta.TransferSyntaxUID


def test_identities_stay_over_a_restart_and_differ_between_sources():
    first, again, other = (metadata.MetadataFlow(order(*arguments)) for arguments in ((), (), ("--port", "6000")))
    names = [dicom_rtv.parse_grain(flow.payload(1, 1, POSE)).meta for flow in (first, again, other)]
    assert names[0].RTVFlowIdentifier == names[1].RTVFlowIdentifier != names[2].RTVFlowIdentifier
    assert names[0].RTVCommunicationSOPInstanceUID != names[1].RTVCommunicationSOPInstanceUID


def test_the_sdp_reads_back():
    asked = order("--name", "scope")
    read = sdp.metadata_flow(sdp.emit_metadata(metadata.flow(asked)), "scope-metadata.sdp")
    assert (read.group, read.port, read.source_address, read.payload_type, read.rate_hz) == ("239.20.22.2", 5006, "127.0.0.1", 104, 90_000)
    assert read.extension_ids == metadata.EXTENSION_IDS


def test_the_icc_profile_is_whole():
    profile = icc.profile()
    assert int.from_bytes(profile[:4], "big") == len(profile) and profile[36:40] == b"acsp" and profile[12:20] == b"mntrRGB "
    tags = {profile[at:at + 4]: struct.unpack_from(">II", profile, at + 4) for at in range(132, 132 + 12 * int.from_bytes(profile[128:132], "big"), 12)}
    assert {b"desc", b"cprt", b"wtpt", b"chad", b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"} == set(tags)
    for place, size in tags.values():
        assert place % 4 == 0 and place + size <= len(profile) and profile[place:place + 4] in (b"XYZ ", b"mluc", b"para", b"sf32")
    columns = [struct.unpack_from(">3i", profile, tags[name][0] + 8) for name in (b"rXYZ", b"gXYZ", b"bXYZ", b"wtpt")]
    assert all(abs(sum(parts) - white) < 20 for *parts, white in zip(*columns))  # the primaries add up to white
