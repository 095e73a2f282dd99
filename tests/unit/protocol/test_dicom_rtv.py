"""Grains: built to the byte as PS3.22 says, checked to the last octet, never cut short unseen."""
import struct
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID

from appliance.errors import ProtocolError
from appliance.protocol import dicom_elements, dicom_rtv
from appliance.protocol.dicom_rtv import build_grain, check_grain, frame_item, parse_grain, tip_item

INSTANCE = "1.2.826.0.1.3680043.8.498.1"
SOURCE_ID, FLOW_ID = bytes(range(16)), bytes(range(16, 32))
ORIGIN_NS = 1_476_865_695_480_000_000


def static_part() -> Dataset:
    """Patient Ada Lovelace in an endoscopy; every kind of thing that a class must not see."""
    static, flow, flow_of = Dataset(), Dataset(), Dataset()
    static.SpecificCharacterSet = "ISO_IR 192"
    static.SOPClassUID, static.SOPInstanceUID = dicom_rtv.VIDEO_ENDOSCOPIC, INSTANCE
    static.Modality, static.Manufacturer = "ES", "Acme"
    static.PatientName, static.PatientID, static.PatientBirthDate = "Lovelace^Ada", "HOSP-4711", "18151210"
    static.StudyInstanceUID, static.SeriesInstanceUID = "1.2.3.4", "1.2.3.4.5"
    static.InstitutionName = "St. Thomas"
    flow_of.FlowIdentifier, flow_of.FlowTransferSyntaxUID, flow_of.FlowRTPSamplingRate = bytes(16), dicom_rtv.ST2110_20_PROGRESSIVE, 90_000
    flow.FlowIdentifierSequence, flow.SourceIdentifier = [flow_of], bytes(16)
    static.RealTimeBulkDataFlowSequence = [flow]
    static.ICCProfile = bytes(560)
    static.StereoPairsPresent = "NO"
    static.SharedFunctionalGroupsSequence = [Dataset()]
    return static


def dynamic_part() -> Dataset:
    return frame_item(ORIGIN_NS, 65_537, [tip_item(640.25, 359.5, depth_mm=120.5, temperature_c=36.75)])


def grain(static: Dataset | None = None, dynamic: Dataset | None = None, **changes) -> bytes:
    return build_grain(static, dynamic, **{"instance_uid": INSTANCE, "source_id": SOURCE_ID, "flow_id": FLOW_ID, **changes})


DYNAMIC, FULL = grain(dynamic=dynamic_part()), grain(static_part(), dynamic_part())
META_END = 132 + 12 + int.from_bytes(DYNAMIC[140:144], "little")


def reason(payload: bytes, judge=check_grain) -> str:
    with pytest.raises(ProtocolError) as caught:
        judge(payload)
    return caught.value.reason


# ---- building -------------------------------------------------------------------------------------------------------------------


def test_meta_information_has_the_octets_of_table_7_1_1():
    instance = INSTANCE.encode() + b"\0"
    assert len(instance) == 28
    body = (b"\x02\x00\x10\x00UI\x16\x001.2.840.10008.1.2.7.1\x00"
            b"\x02\x00\x31\x00OB\x00\x00\x02\x00\x00\x00\x00\x01"
            b"\x02\x00\x32\x00UI\x12\x001.2.840.10008.10.1"
            b"\x02\x00\x33\x00UI\x1c\x00" + instance +
            b"\x02\x00\x35\x00OB\x00\x00\x10\x00\x00\x00" + SOURCE_ID +
            b"\x02\x00\x36\x00OB\x00\x00\x10\x00\x00\x00" + FLOW_ID +
            b"\x02\x00\x37\x00UL\x04\x00\x90\x5f\x01\x00")
    head = bytes(128) + b"DICM" + b"\x02\x00\x00\x00UL\x04\x00" + struct.pack("<I", len(body)) + body
    assert DYNAMIC.startswith(head + b"\x06\x00\x01\x00SQ\x00\x00")
    assert struct.pack("<I", len(DYNAMIC) - len(head) - 12) + b"\xfe\xff\x00\xe0" == DYNAMIC[len(head) + 8:len(head) + 16]
    assert b"\x34\x00\x0d\x00SQ" in DYNAMIC and b"\x34\x00\x07\x00OB\x00\x00\x0a\x00\x00\x00" in DYNAMIC


def test_nothing_of_part_10_is_put_into_the_meta_information():
    tags = {int(element.tag) for element in parse_grain(FULL).meta}
    assert tags == {0x00020000, 0x00020010, 0x00020031, 0x00020032, 0x00020033, 0x00020035, 0x00020036, 0x00020037}


def test_frame_duration_is_written_when_known():
    assert parse_grain(grain(dynamic=dynamic_part(), frame_duration_ms=20.0)).meta.RTVFlowActualFrameDuration == 20.0


def test_origin_timestamp_is_ptp_big_endian():
    assert dicom_rtv.origin_timestamp(ORIGIN_NS) == bytes.fromhex("000058072e9f1c9c3800")


def test_the_frame_item_says_time_number_usefulness_and_tip():
    item = parse_grain(DYNAMIC).dynamic
    assert item.TimeOfFrameGroupSequence[0].FrameOriginTimestamp == dicom_rtv.origin_timestamp(ORIGIN_NS)
    assert item.FrameContentSequence[0].FrameAcquisitionNumber == 1  # 65537 mod 65536: the VR is US
    assert item.FrameUsefulnessGroupSequence[0].IncludesImagingSubject == "YES"
    instrument = item.private_block(0x0099, dicom_rtv.INSTRUMENT_CREATOR)[0x01].value[0].private_block(0x0099, dicom_rtv.INSTRUMENT_CREATOR)
    assert [instrument[n].value for n in (2, 3, 4, 5)] == ["Grasper", [640.25, 359.5], 120.5, 36.75]


def test_private_block_sits_where_the_viewer_looks():
    raw = parse_grain(DYNAMIC).dynamic
    assert raw[0x00990010].value == "APPLIANCE INSTRUMENT 1.0"
    assert raw[0x00991001].value[0][0x00991003].VR == "FD" and raw[0x00991001].name == "[Instrument Sequence]"


def test_pydicom_reads_the_same_from_the_payload():
    whole = dcmread(BytesIO(FULL))
    assert whole.PatientName == "Lovelace^Ada" and "CurrentFrameFunctionalGroupsSequence" in whole
    assert whole.file_meta.TransferSyntaxUID == UID(dicom_rtv.ST2110_20_PROGRESSIVE)


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID", "Modality", "StudyInstanceUID", "SeriesInstanceUID",
                                     "RealTimeBulkDataFlowSequence", "SharedFunctionalGroupsSequence"])
def test_a_static_part_without_a_type_1_element_is_not_built(keyword):
    static = static_part()
    delattr(static, keyword)
    with pytest.raises(ProtocolError, match="static part is missing"):
        grain(static, dynamic_part())


def test_a_grain_has_a_dynamic_or_a_static_part():
    assert reason(b"", lambda _: grain()) == "truncated"
    assert check_grain(grain(static_part())).dynamic is None


def test_a_rendition_needs_no_bulk_data_flow():
    static = static_part()
    static.SOPClassUID, static.Modality = dicom_rtv.RENDITION_SELECTION, "KO"
    del static.RealTimeBulkDataFlowSequence, static.SharedFunctionalGroupsSequence
    assert check_grain(grain(static, sop_class_uid=dicom_rtv.RENDITION_SELECTION)).has_static


# ---- parsing --------------------------------------------------------------------------------------------------------------------


def test_check_tells_instance_rate_and_static():
    checked = check_grain(FULL)
    assert (checked.instance_uid, checked.rate_hz, checked.has_static) == (INSTANCE, 90_000, True)
    assert not check_grain(DYNAMIC).has_static


def test_static_and_dynamic_come_apart():
    parsed = parse_grain(FULL)
    assert parsed.has_static and parsed.static == static_part() and parsed.dynamic == dynamic_part()
    assert parse_grain(DYNAMIC).static is None


TEXT = st.text("ABCdef 0123", min_size=1, max_size=16).map(str.strip).filter(bool)


@given(x=st.floats(-1e6, 1e6), y=st.floats(-1e6, 1e6), name=TEXT, patient=TEXT, number=st.integers(0, 65535), icc=st.integers(1, 500))
def test_what_is_built_is_read_back(x, y, name, patient, number, icc):
    static, dynamic = static_part(), frame_item(ORIGIN_NS, number, [tip_item(x, y, name=name)])
    static.PatientName, static.ICCProfile = patient, bytes(2 * icc)
    parsed = parse_grain(grain(static, dynamic))
    assert parsed.dynamic == dynamic and parsed.static == static


def test_sequences_of_undefined_length_are_read():
    dynamic = dynamic_part()
    for element in dynamic:
        if element.VR == "SQ":
            element.is_undefined_length = True
            element.value[0].is_undefined_length_sequence_item = True
    payload = grain(dynamic=dynamic)
    assert payload.count(b"\xfe\xff\xdd\xe0") == 4 and payload.count(b"\xfe\xff\x0d\xe0") == 4
    assert parse_grain(payload).dynamic == dynamic_part()


@pytest.mark.parametrize("payload", [DYNAMIC, FULL], ids=["dynamic", "full"])
def test_a_cut_at_any_octet_is_refused(payload):
    # Between dynamic and static part a cut leaves a whole dynamic grain; that one is seen by sequence number and end flag (grain.py).
    between = check_grain(payload).dynamic.end
    accepted = [cut for cut in range(len(payload)) if not refused(payload[:cut])]
    assert accepted == ([between] if payload is FULL else [])


def refused(payload: bytes) -> bool:
    try:
        check_grain(payload)
    except ProtocolError:
        return True
    return False


def edited(tag: bytes, old: bytes, new: bytes, payload: bytes = DYNAMIC) -> bytes:
    """The payload with `old` replaced by `new` of the same length, after the element header `tag`."""
    at = payload.index(tag)
    place = payload.index(old, at)
    return payload[:place] + new + payload[place + len(old):]


def without_meta(tag: bytes, octets: int) -> bytes:
    at = DYNAMIC.index(tag)
    shorter = DYNAMIC[:at] + DYNAMIC[at + octets:]
    return shorter[:140] + struct.pack("<I", META_END - 144 - octets) + shorter[144:]


BROKEN = {
    "no DICM": (DYNAMIC[:128] + b"DICX" + DYNAMIC[132:], "preamble"),
    "nothing": (b"", "preamble"),
    "group length too small": (DYNAMIC[:140] + struct.pack("<I", META_END - 146) + DYNAMIC[144:], "group_length"),
    "group length too large": (DYNAMIC[:140] + struct.pack("<I", 0xFFFF_FFFF) + DYNAMIC[144:], "group_length"),
    "no group length": (DYNAMIC[:132] + DYNAMIC[144:], "group_length"),
    "no flow identifier": (without_meta(b"\x02\x00\x36\x00OB", 28), "missing_type1"),
    "no version": (without_meta(b"\x02\x00\x31\x00OB", 14), "missing_type1"),
    "no rate": (without_meta(b"\x02\x00\x37\x00UL", 12), "missing_type1"),
    "version as LO": (edited(b"\x02\x00\x32\x00", b"UI", b"LO"), "vr"),
    "UID with letters": (edited(b"\x02\x00\x33\x00", b"1.2.826", b"1.2.abc"), "uid"),
    "UID with a leading zero": (edited(b"\x02\x00\x33\x00", b"1.2.826", b"1.02.26"), "uid"),
    "unknown VR": (edited(b"\x34\x00\x07\x00", b"OB", b"ZZ"), "vr"),
    "reserved octets": (edited(b"\x34\x00\x07\x00", b"OB\x00\x00", b"OB\x01\x00"), "vr"),
    "odd length": (edited(b"\x34\x00\x08\x00", b"CS\x04\x00", b"CS\x03\x00"), "length"),
    "six octets of a double": (edited(b"\x99\x00\x04\x10", b"FD\x08\x00", b"FD\x06\x00"), "length"),
    "length beyond its item": (edited(b"\x34\x00\x07\x00", b"\x0a\x00\x00\x00", b"\x0c\x00\x00\x00"), "truncated"),
    "length of 4 GiB": (edited(b"\x34\x00\x07\x00", b"\x0a\x00\x00\x00", b"\xfe\xff\xff\xff"), "truncated"),
    "undefined length of octets": (edited(b"\x34\x00\x07\x00", b"\x0a\x00\x00\x00", b"\xff\xff\xff\xff"), "truncated"),
    "item tag": (edited(b"\x06\x00\x01\x00", b"\xfe\xff\x00\xe0", b"\xfe\xff\x01\xe0"), "item"),
    "elements out of order": (edited(b"\x34\x00\x0c\x00", b"\x34\x00\x0c\x00", b"\x34\x00\x07\x00"), "order"),
    "element twice": (edited(b"\x34\x00\x0c\x00", b"\x34\x00\x0c\x00", b"\x34\x00\x08\x00"), "order"),
    "octets after the end": (DYNAMIC + b"\0", "truncated"),
    "two items": (DYNAMIC[:META_END + 8] + struct.pack("<I", len(DYNAMIC) - META_END - 4) + DYNAMIC[META_END + 12:] + b"\xfe\xff\x00\xe0\0\0\0\0", "dynamic_items"),
    "no item": (DYNAMIC[:META_END + 8] + bytes(4), "dynamic_items"),
    "group 0004": (DYNAMIC[:META_END] + b"\x04\x00\x01\x00LO\x02\x00AB", "unexpected_element"),
    "other of group 0006": (DYNAMIC + b"\x06\x00\x02\x00LO\x02\x00AB", "unexpected_element"),
    "another instance in the static part": (FULL[:FULL.rindex(b"498.1")] + b"498.2" + FULL[FULL.rindex(b"498.1") + 5:], "instance_mismatch"),
    "too large": (DYNAMIC + bytes(dicom_rtv.GRAIN_BYTES_MAX), "oversize"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_grains_are_refused_for_their_reason(case):
    payload, expected = BROKEN[case]
    assert reason(payload) == expected


def nested(depth: int, undefined: bool) -> bytes:
    body = b""
    for _ in range(depth):
        item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFF_FFFF if undefined else len(body)) + body + (b"\xfe\xff\x0d\xe0\0\0\0\0" if undefined else b"")
        body = b"\x34\x00\x0d\x00SQ\0\0" + struct.pack("<I", 0xFFFF_FFFF if undefined else len(item)) + item + (b"\xfe\xff\xdd\xe0\0\0\0\0" if undefined else b"")
    return body


@pytest.mark.parametrize("undefined", [True, False])
def test_nesting_is_bounded(undefined):
    assert len(dicom_elements.walk(nested(dicom_elements.DEPTH_MAX, undefined))) == 1
    assert reason(nested(dicom_elements.DEPTH_MAX + 1, undefined), dicom_elements.walk) == "depth"
    assert reason(nested(900, undefined), dicom_elements.walk) == "depth"


def test_the_number_of_elements_is_bounded():
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * dicom_elements.ELEMENTS_MAX
    assert reason(b"\x34\x00\x0d\x00SQ\0\0" + struct.pack("<I", len(items)) + items, dicom_elements.walk) == "oversize"


# ---- the data-channel message -------------------------------------------------------------------------------------------------------


def test_message_layout():
    assert dicom_rtv.message(b"grain", 0x01020304, 0x1112131415161718, True) == bytes.fromhex("01010000" "01020304" "1112131415161718") + b"grain"
    assert dicom_rtv.message(b"", 0, 0, True, True)[:2] == b"\x01\x03" and dicom_rtv.message(b"", 0, 0, False, True)[:2] == b"\x01\x02"
    assert dicom_rtv.message(b"", 0, 0, False)[:2] == b"\x01\x00" and dicom_rtv.MESSAGE_HEADER_BYTES == 16
