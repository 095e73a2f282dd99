"""De-identification: nothing that identifies reaches a class, whatever attribute it stands in; times move together; what is left is a valid grain."""
import base64
import struct
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset

from appliance.clock import AudienceClock, rtp_timestamp
from appliance.errors import ProtocolError
from appliance.frame import VideoFormat
from appliance.protocol import attribution, dicom_rtv
from appliance.protocol.deidentification import REASONS, Deidentifier, engine, profile, rules
from appliance.protocol.deidentification.pseudonyms import WRAPS_MS, Pseudonyms
from appliance.protocol.dicom_elements import walk
from appliance.protocol.dicom_rtv import check_grain, frame_item, parse_grain, tip_item
from appliance.source.case import static_part as static_of_source
from tests.unit.protocol.test_dicom_rtv import DYNAMIC, FULL, INSTANCE, META_END, ORIGIN_NS, dynamic_part, grain, static_part

CLOCK = AudienceClock.secret(b"of a test", "endoscope")
LONG_VRS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
VRS = LONG_VRS + (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US")
STATIC = {element.tag: FULL[element.start:element.end] for element in check_grain(FULL).static}
REQUIRED = (0x0008_0016, 0x0008_0018, 0x0008_0060, 0x0020_000D, 0x0020_000E, 0x0034_000A, 0x5200_9229)
WINDOW = 5
"""So many octets in a row of a secret must not come out. Two octets of a count may, and four of a number that was cut to a single."""


def deidentified(payload: bytes, by: Deidentifier | None = None) -> bytes:
    return (by or Deidentifier(CLOCK)).deidentify(check_grain(payload))


def reason(payload: bytes) -> str:
    with pytest.raises(ProtocolError) as caught:
        deidentified(payload)
    return caught.value.reason


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    value += bytes(-len(value) % 8) if vr != b"SQ" else b""
    if vr in LONG_VRS:
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def data_set(elements: dict[int, bytes]) -> bytes:
    return b"".join(elements[tag] for tag in sorted(elements))


def item(elements: dict[int, bytes]) -> bytes:
    body = data_set(elements)
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body


def with_elements(dynamic: dict[int, bytes], static: dict[int, bytes]) -> bytes:
    """A grain whose parts have these elements besides what it must have."""
    own = {each.tag: DYNAMIC[each.start:each.end] for each in check_grain(DYNAMIC).dynamic.items[0].elements}
    static = STATIC | {tag: octets for tag, octets in static.items() if tag not in REQUIRED and tag > 0x0008_0000}
    return DYNAMIC[:META_END] + element(0x0006_0001, b"SQ", item(own | dynamic)) + data_set(static)


# ---- what leaves ----------------------------------------------------------------------------------------------------------------


def test_the_dynamic_part_says_the_same_of_the_frame_at_another_time():
    told = parse_grain(deidentified(DYNAMIC)).dynamic
    came = dynamic_part()
    told_time, came_time = (int.from_bytes(part.TimeOfFrameGroupSequence[0].FrameOriginTimestamp[:6], "big") for part in (told, came))
    assert 365 * 86_400 <= came_time - told_time <= 21.1 * 365.25 * 86_400
    for part in (told, came):
        del part.TimeOfFrameGroupSequence, part.FrameContentSequence[0].FrameAcquisitionNumber
    assert told == came


def test_frames_are_counted_on_from_a_number_of_the_session_s_own():
    """A sender may count from the PTP epoch, so that its numbers are real time modulo 65,536 frames."""
    def numbers(by):
        told = (parse_grain(deidentified(grain(dynamic=frame_item(ORIGIN_NS, number)), by)) for number in (7, 8, 65_535, 65_536))
        return [part.dynamic.FrameContentSequence[0].FrameAcquisitionNumber for part in told]

    sessions = [numbers(Deidentifier(CLOCK)) for _ in range(4)]
    for first, second, last, wrapped in sessions:
        assert (second - first) % 65_536 == 1 and (wrapped - last) % 65_536 == 1 and (last - first) % 65_536 == 65_535 - 7
    assert len({first for first, *_ in sessions}) > 1


def test_the_preamble_and_the_static_part_say_that_and_how_it_was_deidentified():
    payload = deidentified(b"\x41" * 128 + FULL[128:])
    assert payload[:128] == engine.PREAMBLE and b"2026d" in payload[:128]
    static = parse_grain(payload).static
    assert (static.PatientIdentityRemoved, static.LongitudinalTemporalInformationModified) == ("YES", "MODIFIED")
    codes = [(code.CodingSchemeDesignator, code.CodeValue, code.CodeMeaning) for code in static.DeidentificationMethodCodeSequence]
    assert codes == [("DCM", value.decode(), meaning.decode()) for value, meaning in engine.METHODS] and codes[0][1] == "113100"


def test_the_sender_s_own_word_on_deidentification_is_replaced():
    static = static_part()
    static.PatientIdentityRemoved, static.DeidentificationMethod = "NO", "by Lovelace"
    told = parse_grain(deidentified(grain(static, dynamic_part()))).static
    assert told.PatientIdentityRemoved == "YES" and "Lovelace" not in str(told)


def test_a_grain_that_has_all_that_its_iod_demands_still_has_it():
    whole = static_of_source(INSTANCE, bytes(16), bytes(range(16)), VideoFormat(1280, 720))
    payload = grain(whole, dynamic_part())
    for octets in (payload, deidentified(payload)):
        assert attribution.attribute(check_grain(octets), attribution.Announced(), 90_000).missing == ()


def test_what_a_class_can_learn_from_is_kept():
    static, region = static_part(), Dataset()
    static.Manufacturer, static.PhotometricInterpretation, static.BitsStored = "Karl Storz", "YBR_FULL_422", 10
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "818981001", "SCT", "Bauch von Ada Lovelace"
    static.AnatomicRegionSequence = [region]
    told = parse_grain(deidentified(grain(static, dynamic_part()))).static
    assert (told.Manufacturer, told.PhotometricInterpretation, told.BitsStored, told.Modality) == ("Karl Storz", "YBR_FULL_422", 10, "ES")
    assert told.AnatomicRegionSequence[0].CodeMeaning == "Abdomen", "the standard's word, not the sender's"


def test_a_region_that_the_standard_does_not_know_is_not_told():
    static, region = static_part(), Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "HOSP-4711", "99ADA", "Abdomen"
    static.AnatomicRegionSequence = [region]
    assert "AnatomicRegionSequence" not in parse_grain(deidentified(grain(static, dynamic_part()))).static


def test_every_attribute_of_the_profile_is_acted_on_as_the_table_says():
    """One of each is in the static part; what came of it is what its code demands, resolved by its type in the Real-Time Communication IODs."""
    values = {b"DA": b"20261127", b"TM": b"101112", b"DT": b"20261127101112.5", b"UI": b"1.2.3.4711", b"OB": bytes(range(16)), b"PN": b"Lovelace^Ada"}
    came = {}
    for tag in profile.actions():
        vr = dictionary_VR(tag).encode() if known(tag) else b"UN"
        if tag >= 0x0008_0000 and tag not in REQUIRED and b" " not in vr:
            came[tag] = vr, b"" if vr == b"SQ" else values.get(vr, b"LOVELACE")
    payload = with_elements({}, {tag: short(tag, vr, value) for tag, (vr, value) in came.items()})
    out = deidentified(payload)
    told = {each.tag: (each.vr, out[each.value:each.value_end].rstrip(b" \0")) for each in walk(out, 132)}
    for tag, (vr, value) in came.items():
        action, left = profile.actions()[tag], told.get(tag)
        if tag in rules._UUIDS:
            assert left[1] not in (b"", value)
        elif action == profile.UID or action == profile.MODIFY and vr in (b"DA", b"TM", b"DT"):
            assert left[0] == vr and left[1] not in (b"", value), hex(tag)
        elif action == profile.EMPTY:
            assert left == (vr, b""), hex(tag)
        elif action == profile.DUMMY and vr != b"SQ":
            assert left is None or left[1] not in (b"", value), hex(tag)
            assert left is not None or tag not in profile.TYPE_1, hex(tag)
        elif tag not in rules._KEPT:
            assert left is None or tag == 0x0034_0001 or vr == b"OB", hex(tag)
    assert len(came) > 550 and len(told) > 200


def known(tag: int) -> bool:
    try:
        return bool(dictionary_VR(tag))
    except KeyError:
        return False


def short(tag: int, vr: bytes, value: bytes) -> bytes:
    """An element with a value of its own length."""
    value += b"\0" * (len(value) % 2)
    return element(tag, vr, b"")[:-2] + struct.pack("<H", len(value)) + value if vr not in LONG_VRS else element(tag, vr, b"")[:-4] + struct.pack("<I", len(value)) + value


@pytest.mark.parametrize("codes, tag, action", [("X/Z/D", 0x0018_1000, "D"), ("Z/D", 0x0010_0020, "Z"), ("X/Z", 0x0040_0555, "Z"), ("X/Z", 0x0008_0022, "X"),
                                                ("X/D", 0x0008_0021, "X"), ("Z/D", 0x0008_0023, "D"), ("X/Z/U*", 0x0008_1140, "X"), ("U", 0x0008_0018, "U")])
def test_combined_codes_come_down_to_what_keeps_the_grain_valid(codes, tag, action):
    assert profile.resolve(codes, tag) == action


# ---- identifiers ----------------------------------------------------------------------------------------------------------------


def test_identifiers_are_other_ones_in_all_places_and_the_same_within_a_session():
    flow = static_part().RealTimeBulkDataFlowSequence[0]
    static = static_part()
    flow.SourceIdentifier, flow.FlowIdentifierSequence[0].FlowIdentifier = bytes(range(16)), bytes(range(16, 32))
    static.RealTimeBulkDataFlowSequence = [flow]
    by = Deidentifier(CLOCK)
    payload = grain(static, dynamic_part(), source_id=bytes(range(16)), flow_id=bytes(range(16, 32)))
    told, again = parse_grain(deidentified(payload, by)), parse_grain(deidentified(DYNAMIC, by))
    flow = told.static.RealTimeBulkDataFlowSequence[0]
    assert told.meta.RTVCommunicationSOPInstanceUID == told.static.SOPInstanceUID == again.meta.RTVCommunicationSOPInstanceUID != INSTANCE
    assert told.meta.RTVSourceIdentifier == flow.SourceIdentifier != bytes(range(16)) and told.meta.RTVFlowIdentifier == flow.FlowIdentifierSequence[0].FlowIdentifier
    assert flow.FlowIdentifierSequence[0].FlowTransferSyntaxUID == dicom_rtv.ST2110_20_PROGRESSIVE and flow.FlowIdentifierSequence[0].FlowRTPSamplingRate == 90_000
    assert len({told.static.SOPInstanceUID, told.static.StudyInstanceUID, told.static.SeriesInstanceUID}) == 3
    by.begin()
    assert parse_grain(deidentified(payload, by)).static.SOPInstanceUID != told.static.SOPInstanceUID


def test_a_uid_of_the_standard_s_own_stays():
    static = static_part()
    static.SynchronizationFrameOfReferenceUID = "1.2.840.10008.15.1.1"
    assert parse_grain(deidentified(grain(static, dynamic_part()))).static.SynchronizationFrameOfReferenceUID == "1.2.840.10008.15.1.1"


# ---- times ----------------------------------------------------------------------------------------------------------------------


def test_every_time_of_a_session_moves_by_the_same_and_another_session_s_by_another():
    static, dynamic = static_part(), dynamic_part()
    static.StudyDate, static.StudyTime, static.ContentDate, static.ContentTime = "20261231", "235959.5", "20270101", "000001"
    static.AcquisitionDateTime = "20261231235959.500000+0100"
    shifts = set()
    for _ in range(8):
        told = parse_grain(deidentified(grain(static, dynamic)))
        moments = [datetime.strptime(date + time, "%Y%m%d%H%M%S.%f") for date, time in ((told.static.StudyDate, told.static.StudyTime),
                                                                                     (told.static.ContentDate, told.static.ContentTime + ".0"))]
        moments.append(datetime.strptime(told.static.AcquisitionDateTime[:21], "%Y%m%d%H%M%S.%f"))
        assert moments[0] == moments[2].replace(microsecond=moments[0].microsecond)
        origin = told.dynamic.TimeOfFrameGroupSequence[0].FrameOriginTimestamp
        origin_ns = int.from_bytes(origin[:6], "big") * 10**9 + int.from_bytes(origin[6:], "big")
        shift = timedelta(microseconds=(origin_ns - ORIGIN_NS) // 1000)
        assert abs(moments[0] - datetime(2026, 12, 31, 23, 59, 59, 500_000) - shift) < timedelta(seconds=0.1)
        assert abs(moments[1] - datetime(2027, 1, 1, 0, 0, 1) - shift) < timedelta(seconds=1)
        assert told.static.AcquisitionDateTime.endswith("+0100")
        # The frame's own time and the RTP timestamp beside it go on telling of one instant.
        assert rtp_timestamp(origin_ns) == (rtp_timestamp(ORIGIN_NS) + CLOCK.ticks()) % 2**32
        shifts.add(shift)
    assert len(shifts) > 1 and all(WRAPS_MS * 90 % 2**32 == WRAPS_MS * rate % 2**32 == 0 for rate in (48, 96))


@pytest.mark.parametrize("value", [b"", b"LOVELACE", b"20260230", b"99999999", b"2026112", b"18151210LOVE", b"00000101"])
def test_what_is_no_date_is_not_told(value):
    out = deidentified(with_elements({}, {0x0008_0020: short(0x0008_0020, b"DA", value), 0x0008_0022: short(0x0008_0022, b"DA", value)}))
    told = {each.tag: out[each.value:each.value_end] for each in walk(out, 132)}
    assert told[0x0008_0020] == b"" and 0x0008_0022 not in told


@settings(deadline=None)
@given(st.binary(min_size=8, max_size=12))
def test_a_frame_time_that_is_none_gives_way_to_zeros(octets):
    told = Pseudonyms(CLOCK).frame_time(octets)
    seconds = int.from_bytes(octets[:6], "big")
    assert told == bytes(10) or len(octets) == 10 and seconds < 2**33 and told[:2] == b"\0\0"


# ---- fails closed ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes, expected", [({"sop_class_uid": dicom_rtv.RENDITION_SELECTION}, "sop_class"), ({"sop_class_uid": "1.2.3"}, "sop_class"),
                                               ({"transfer_syntax_uid": "1.2.840.10008.1.2.1"}, "transfer_syntax"), ({"rate_hz": 0x4556_4F4C}, "rate")])
def test_a_grain_of_which_no_rule_knows_is_refused(changes, expected):
    assert reason(grain(dynamic=dynamic_part(), **changes)) == expected
    assert expected in REASONS


def test_a_grain_that_would_be_too_large_is_refused():
    tips = [tip_item(1.0, 2.0, name="A")]
    one = len(grain(dynamic=frame_item(ORIGIN_NS, 1, 2 * tips))) - len(grain(dynamic=frame_item(ORIGIN_NS, 1, tips)))
    many = (dicom_rtv.GRAIN_BYTES_MAX - len(grain(dynamic=frame_item(ORIGIN_NS, 1, tips)))) // one
    assert reason(grain(dynamic=frame_item(ORIGIN_NS, 1, many * tips))) == "oversize", "a substitute is longer than what it stands for"


# ---- nothing that identifies ------------------------------------------------------------------------------------------------------


SECRETS = st.text(st.sampled_from("QZXJVKWYqzxjvkwy0369äöüßŁżЖ東京"), min_size=8, max_size=20)
ENCODINGS = ("utf-8", "iso8859-1", "iso8859-5", "shift_jis", "iso2022_jp", "gb18030", "utf-16-le", "utf-16-be")
TAGS = st.sampled_from(sorted(rules.RULES)) | st.sampled_from(sorted(tag for tag in profile.actions() if tag > 0x0002_FFFF)) | st.integers(0x0008_0001, 0xFFFA_FFFF)
SEQUENCES = st.sampled_from([tag for tag, rule in rules.RULES.items() if rule.items]) | TAGS


@st.composite
def planted(draw: st.DrawFn, secret: bytes, depth: int = 3) -> dict[int, bytes]:
    """Elements that have the secret in any attribute, in any VR, nested, and in sequences that claim to be something else."""
    found = {}
    for _ in range(draw(st.integers(1, 4))):
        if depth and draw(st.booleans()):
            tag, items = draw(SEQUENCES), b"".join(item(draw(planted(secret, depth - 1))) for _ in range(draw(st.integers(1, 2))))
            found[tag] = element(tag, draw(st.sampled_from([b"SQ", b"SQ", b"UN"])), items)
        else:
            tag, vr = draw(TAGS), draw(st.sampled_from(VRS))
            vr = dictionary_VR(tag).encode() if known(tag) and draw(st.booleans()) else vr
            vr = vr if vr in VRS and vr != b"SQ" else b"UN"
            found[tag] = element(tag, vr, draw(st.sampled_from([b"", b"X\\", b"20261127", b"1.2."])) + secret)
    if draw(st.booleans()):  # under the very creator whose elements pass
        found[rules.CREATOR_TAG] = element(rules.CREATOR_TAG, b"LO", rules.CREATOR)
    return found


def assert_absent(secret: bytes, octets: bytes) -> None:
    assert secret.hex().encode() not in octets.lower()
    for form in {secret, secret.lower(), secret.upper(), secret[::-1], base64.b64encode(secret)}:
        for start in range(len(form) - WINDOW + 1):
            window = form[start:start + WINDOW]
            # Pseudonyms are digits, so that five of them meet by chance.
            assert window.isdigit() or window not in octets, f"{window!r} of {secret!r}"
        assert form not in octets


@settings(max_examples=50, deadline=None)
@given(st.data(), SECRETS, st.sampled_from(ENCODINGS))
def test_a_value_planted_in_any_attribute_does_not_come_out(data, text, encoding):
    secret = text.encode(encoding, "ignore").ljust(8, b"Q")
    payload = with_elements(data.draw(planted(secret)), data.draw(planted(secret)))
    payload = (secret * 20)[:128] + payload[128:]
    out = deidentified(payload)
    assert_absent(secret, out)
    assert_absent(text.encode().ljust(8, b"Q"), out)


@pytest.mark.parametrize("vr", sorted(set(VRS) - {b"SQ"}))
def test_a_value_planted_in_every_attribute_at_once_does_not_come_out(vr):
    secret = b"QZLOVELACE^ADA=47.11"
    every = {tag: element(tag, vr, secret) for tag in rules.RULES if tag > 0x0008_0000} | {0x0101_0010: element(0x0101_0010, vr, secret)}
    inside = {rules.CREATOR_TAG: element(rules.CREATOR_TAG, b"LO", rules.CREATOR)}
    inside |= {tag: element(tag, b"SQ", item(every)) for tag in (0x0034_000A, 0x0034_000D, 0x5200_9229)}
    assert_absent(secret, deidentified(with_elements(inside, every)))
    assert_absent(secret, deidentified(with_elements(every, inside)))


def test_group_0002_keeps_nothing_of_the_sender_s():
    private = b"\x02\x00\x00\x01UI\x04\x001.2\0" + b"\x02\x00\x02\x01OB\x00\x00\x08\x00\x00\x00" + b"LOVELACE"
    payload = FULL[:140] + struct.pack("<I", META_END - 144 + len(private)) + FULL[144:META_END] + private + FULL[META_END:]
    out = deidentified(b"Lovelace".ljust(128) + payload[128:])
    assert b"LOVELACE" not in out and b"Lovelace" not in out and INSTANCE.encode() not in out
    assert {each.tag for each in check_grain(out).meta} <= set(rules.META_RULES) | {dicom_rtv.GROUP_LENGTH}


@pytest.mark.parametrize("name, told", [("Grasper", "Grasper"), ("Needle Holder", "Needle Holder"), ("Dr. Lovelace", "Instrument"), ("Ada", "Instrument"),
                                        ("grasper", "Instrument"), ("Grasper of Lovelace", "Instrument"), ("x" * 64, "Instrument")])
def test_a_class_is_told_an_instruments_kind_and_no_free_text(name, told):
    dynamic = parse_grain(deidentified(grain(dynamic=frame_item(ORIGIN_NS, 1, [tip_item(1.0, 2.0, name=name)])))).dynamic
    instrument = dynamic.private_block(0x0099, dicom_rtv.INSTRUMENT_CREATOR)[0x01].value[0].private_block(0x0099, dicom_rtv.INSTRUMENT_CREATOR)
    assert instrument[2].value == told and instrument[3].value == [1.0, 2.0]


def test_our_private_block_under_another_creator_is_gone():
    dynamic = dynamic_part()
    dynamic.add_new(0x00990010, "LO", "ANOTHER CREATOR")
    assert not [each for each in parse_grain(deidentified(grain(dynamic=dynamic))).dynamic if each.tag.group == 0x0099]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300, -1e7, 1e-300])
def test_a_number_out_of_all_proportion_is_not_told(value):
    dynamic = parse_grain(deidentified(grain(dynamic=frame_item(ORIGIN_NS, 1, [tip_item(1.0, 2.0, depth_mm=value)])))).dynamic
    instrument = dynamic.private_block(0x0099, dicom_rtv.INSTRUMENT_CREATOR)[0x01].value[0]
    assert 0x00991004 not in instrument and 0x00991005 in instrument
