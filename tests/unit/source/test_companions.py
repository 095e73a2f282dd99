"""What the source tells beside the picture's metadata: of its sound, and that both belong together."""
import pytest

from appliance import clock
from appliance.protocol import dicom_rtv, sdp
from appliance.protocol.attribution import Kind, announced, attribute
from appliance.protocol.grain import GrainAssembler
from appliance.source.companions import companions
from appliance.source.metadata import FLAGS, PAYLOAD_TYPE, MetadataFlow
from tests.unit.source.test_metadata import order

INSTANT_NS = 1_800_000_000_123_456_789


@pytest.fixture(scope="module")
def said():
    """{suffix: (flow, RTP timestamp, parsed grain)} of an instant, each through its packets and the checks of the appliance; the picture's static part."""
    plan = order("--sound", "--sound-rate", "96000")
    picture, found = MetadataFlow(plan), {}
    for one in companions(plan, picture):
        flow = sdp.metadata_flow(sdp.emit_metadata(one.flow), "companion.sdp")
        receiver = GrainAssembler(PAYLOAD_TYPE, FLAGS)
        [assembled] = [grain for packet in one.packets(INSTANT_NS) for grain in receiver.receive(packet, 0)]
        whose = attribute(dicom_rtv.check_grain(assembled.payload), announced(assembled.elements, flow.extension_ids), flow.rate_hz)
        assert whose.missing == ()
        found[one.suffix] = flow, whose.kind, assembled.rtp_timestamp, dicom_rtv.parse_grain(assembled.payload)
    return found, picture.static


def test_the_sound_is_described_on_its_own_clock(said):
    flow, kind, rtp_timestamp, grain = said[0]["sound-metadata"]
    assert kind is Kind.AUDIO and flow.rate_hz == 96_000 and rtp_timestamp == clock.rtp_timestamp(INSTANT_NS, 96_000)
    assert grain.dynamic.TimeOfFrameGroupSequence[0].FrameOriginTimestamp == dicom_rtv.origin_timestamp(INSTANT_NS)
    assert grain.static.RealTimeBulkDataFlowSequence[0].FlowIdentifierSequence[0].FlowRTPSamplingRate == 96_000


def test_picture_and_sound_are_said_to_belong_together(said):
    found, picture = said
    _, kind, _, grain = found["rendition"]
    referenced = [(item.ValueType, item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for item in grain.static.ContentSequence]
    assert kind is Kind.RENDITION and grain.dynamic is None
    assert referenced == [("IMAGE", picture.SOPInstanceUID), ("WAVEFORM", found["sound-metadata"][3].static.SOPInstanceUID)]


def test_they_are_of_the_same_patient_and_study_at_ports_of_their_own(said):
    found, picture = said
    for _, _, _, grain in found.values():
        assert (grain.static.PatientID, grain.static.StudyInstanceUID) == (picture.PatientID, picture.StudyInstanceUID)
    assert sorted(flow.port for flow, *_ in found.values()) == [5010, 5012]
