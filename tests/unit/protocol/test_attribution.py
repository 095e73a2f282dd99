"""Whose a grain is: kinds, flows, patients; what contradicts itself is refused, what was left out is named."""
import pytest
from pydicom.dataset import Dataset

from appliance.errors import ProtocolError
from appliance.protocol import dicom_rtv
from appliance.protocol.attribution import FLOW_URI, ORIGIN_URI, REASONS, SOURCE_URI, SYNC_URI, Announced, Kind, announced, attribute
from appliance.protocol.dicom_rtv import check_grain
from tests.unit.protocol.test_dicom_rtv import DYNAMIC, FLOW_ID, FULL, INSTANCE, ORIGIN_NS, SOURCE_ID, dynamic_part, grain, static_part

RATE_HZ = 90_000
IDS = {ORIGIN_URI: 1, FLOW_URI: 3, SOURCE_URI: 4, SYNC_URI: 7}


def attributed(payload: bytes, told: Announced = Announced(), rate_hz: int = RATE_HZ):
    return attribute(check_grain(payload), told, rate_hz)


def refusal(payload: bytes, told: Announced = Announced(), rate_hz: int = RATE_HZ) -> str:
    with pytest.raises(ProtocolError) as caught:
        attributed(payload, told, rate_hz)
    assert caught.value.reason in REASONS
    return caught.value.reason


def with_flows(*flows: tuple[bytes, str, int]) -> Dataset:
    static = static_part()
    items = []
    for identifier, syntax, rate_hz in flows:
        item = Dataset()
        item.FlowIdentifier, item.FlowTransferSyntaxUID, item.FlowRTPSamplingRate = identifier, syntax, rate_hz
        items.append(item)
    static.RealTimeBulkDataFlowSequence[0].FlowIdentifierSequence = items
    return static


def audio_static() -> Dataset:
    static = with_flows((bytes(16), dicom_rtv.ST2110_30_PCM, 48_000))
    static.SOPClassUID, static.Modality = dicom_rtv.AUDIO_WAVEFORM, "AU"
    del static.SharedFunctionalGroupsSequence
    return static


def audio_grain(**changes) -> bytes:
    return grain(**{"static": audio_static(), "rate_hz": 48_000, "transfer_syntax_uid": dicom_rtv.ST2110_30_PCM, "sop_class_uid": dicom_rtv.AUDIO_WAVEFORM,
                    **changes})


def rendition_grain() -> bytes:
    static = static_part()
    static.SOPClassUID, static.Modality = dicom_rtv.RENDITION_SELECTION, "KO"
    del static.RealTimeBulkDataFlowSequence, static.SharedFunctionalGroupsSequence
    return grain(static=static, sop_class_uid=dicom_rtv.RENDITION_SELECTION)


def test_the_header_extension_is_read_by_the_ids_of_the_sdp():
    time = dicom_rtv.origin_timestamp(ORIGIN_NS)
    assert announced({1: time, 3: FLOW_ID, 4: SOURCE_ID, 5: b"\xc0", 7: time}, IDS) == Announced(SOURCE_ID, FLOW_ID, time, time)


def test_elements_of_another_length_or_without_an_id_say_nothing():
    assert announced({3: FLOW_ID[:15], 4: SOURCE_ID}, IDS) == Announced(source_id=SOURCE_ID)
    assert announced({3: FLOW_ID, 4: SOURCE_ID}, {}) == Announced()


def test_a_dynamic_grain_names_no_patient():
    assert attributed(DYNAMIC) == (Kind.VIDEO, None, ())


def test_a_static_part_names_patient_and_study():
    kind, subject, _ = attributed(FULL)
    assert (kind, subject) == (Kind.VIDEO, (b"Lovelace^Ada", b"HOSP-4711 ", b"1.2.3.4\0"))


def test_what_a_sender_left_out_is_named():
    missing = attributed(FULL).missing
    assert "ManufacturerModelName" in missing and "SynchronizationTrigger" in missing and "Manufacturer" not in missing


def test_an_empty_type_1_element_counts_as_left_out():
    static = static_part()
    static.Manufacturer = ""
    assert "Manufacturer" in attributed(grain(static, dynamic_part())).missing


def test_a_frame_without_the_time_of_its_origin_is_named():
    dynamic = dynamic_part()
    del dynamic.TimeOfFrameGroupSequence
    assert attributed(grain(dynamic=dynamic)).missing == ("FrameOriginTimestamp",)


def test_audio_and_rendition_grains_are_understood():
    assert attributed(audio_grain(), rate_hz=48_000).kind is Kind.AUDIO
    assert attributed(audio_grain(dynamic=dynamic_part()), rate_hz=48_000).kind is Kind.AUDIO
    kind, subject, missing = attributed(rendition_grain())
    assert (kind, subject[1]) == (Kind.RENDITION, b"HOSP-4711 ")
    assert "CurrentRequestedProcedureEvidenceSequence" in missing


def test_any_other_class_is_refused():
    assert refusal(grain(dynamic=dynamic_part(), sop_class_uid="1.2.840.10008.5.1.4.1.1.77.1.1.1")) == "sop_class"


@pytest.mark.parametrize("told", [Announced(flow_id=bytes(15) + b"\1"), Announced(source_id=bytes(15) + b"\1")])
def test_packets_and_grain_that_name_different_flows_are_refused(told):
    assert refusal(DYNAMIC, told) == "flow_mismatch"


def test_packets_and_grain_that_name_the_same_flow_pass():
    assert attributed(DYNAMIC, Announced(SOURCE_ID, FLOW_ID)).kind is Kind.VIDEO


def test_a_clock_that_is_not_the_sdps_is_refused():
    assert refusal(DYNAMIC, rate_hz=48_000) == "rate_mismatch"


def test_one_of_the_listed_flows_must_be_the_described_one():
    other = (bytes(16), dicom_rtv.ST2110_20_INTERLACED, RATE_HZ)
    own = (bytes(15) + b"\1", dicom_rtv.ST2110_20_PROGRESSIVE, RATE_HZ)
    assert attributed(grain(with_flows(other, own), dynamic_part())).kind is Kind.VIDEO
    assert refusal(grain(with_flows(other), dynamic_part())) == "flow_mismatch"
    assert refusal(grain(with_flows(other, (*own[:2], 48_000)), dynamic_part())) == "rate_mismatch"


def test_a_listed_flow_without_its_identifier_is_refused():
    static = static_part()
    del static.RealTimeBulkDataFlowSequence[0].FlowIdentifierSequence[0].FlowIdentifier
    assert refusal(grain(static, dynamic_part())) == "flow_mismatch"


def test_a_static_part_that_lists_no_flow_is_refused():
    static = static_part()
    static.RealTimeBulkDataFlowSequence[0].FlowIdentifierSequence = []
    assert refusal(grain(static, dynamic_part(), instance_uid=INSTANCE)) == "flow_mismatch"
