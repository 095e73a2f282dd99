"""The fictional case that the source's metadata tells of: patient, study, device; the static part of every grain.

Called by metadata.py once. Everybody in it is invented; all elements of Type 1 and 2 of the Video Endoscopic Image Real-Time
Communication IOD (PS3.3 A.32.9) are there.
"""
from datetime import datetime, timezone
from fractions import Fraction
from uuid import uuid4

from pydicom.dataset import Dataset

from appliance.frame import VideoFormat
from appliance.protocol import icc
from appliance.protocol.dicom_rtv import AUDIO_WAVEFORM, RENDITION_SELECTION, ST2110_20_INTERLACED, ST2110_20_PROGRESSIVE, ST2110_30_PCM, VIDEO_ENDOSCOPIC
from appliance.version import VERSION

# Source: PS3.5 8.2.13.
_INTERPRETATIONS = {"RGB": "RGB", "YCbCr-4:4:4": "YBR_FULL", "YCbCr-4:2:2": "YBR_FULL_422", "YCbCr-4:2:0": "YBR_PARTIAL_420"}
_UTC_FRAME_OF_REFERENCE = "1.2.840.10008.15.1.1"  # well-known, PS3.6 Annex A


def new_uid() -> str:
    """A UID from a random UUID (PS3.5 B.2)."""
    return f"2.25.{uuid4().int}"


def static_part(instance_uid: str, video_source_id: bytes, video_flow_id: bytes, format: VideoFormat) -> Dataset:
    """The static part. `instance_uid` is also in each grain's group 0002; the ids are the 16 octets of the video flow's UUIDs."""
    now = datetime.now(timezone.utc)
    case = Dataset()
    case.SpecificCharacterSet = "ISO_IR 192"
    case.ImageType = ["ORIGINAL", "PRIMARY"]
    case.SOPClassUID, case.SOPInstanceUID = VIDEO_ENDOSCOPIC, instance_uid
    case.StudyDate = case.SeriesDate = case.ContentDate = now.strftime("%Y%m%d")
    case.StudyTime = case.SeriesTime = case.ContentTime = now.strftime("%H%M%S")
    case.TimezoneOffsetFromUTC = "+0000"
    _patient_and_study(case)
    _device(case, format.picture_rate)
    _picture(case, format)
    syntax = ST2110_20_INTERLACED if format.by_fields else ST2110_20_PROGRESSIVE
    case.RealTimeBulkDataFlowSequence = [_flow(video_source_id, video_flow_id, syntax, 90_000)]
    case.SharedFunctionalGroupsSequence = [Dataset()]
    return case


def _patient_and_study(case: Dataset) -> None:
    case.PatientName = "Prüfling^Zoë^Łucja"
    case.PatientID = "DEMO-000042"
    case.PatientBirthDate, case.PatientSex = "19700101", "O"
    case.PatientComments = "Fictional patient of the synthetic source"
    case.StudyInstanceUID, case.SeriesInstanceUID = new_uid(), new_uid()
    case.AccessionNumber, case.StudyID, case.SeriesNumber = "DEMO-2026-0001", "DEMO1", 1
    case.ReferringPhysicianName = "Beispiel^Åsa^^Dr."
    case.StudyDescription = "Laparoscopic cholecystectomy (synthetic)"
    case.SeriesDescription = "Endoscope, live"
    case.ProtocolName = "Rehearsal"
    case.Modality = "ES"
    case.InstitutionName = "Demonstration Hospital"
    case.InstitutionalDepartmentName = "Theatre 3"
    case.OperatorsName = "Muster^Jean-Rémi^^Dr."


def _device(case: Dataset, rate: Fraction) -> None:
    case.Manufacturer, case.ManufacturerModelName = "Synthetic Optics", "Rehearsal Endoscope R1"
    case.DeviceSerialNumber, case.SoftwareVersions = "SIM-0001", VERSION
    case.SynchronizationFrameOfReferenceUID = _UTC_FRAME_OF_REFERENCE
    case.SynchronizationTrigger, case.AcquisitionTimeSynchronized, case.TimeDistributionProtocol = "NO TRIGGER", "Y", "PTP"
    case.RecommendedDisplayFrameRateInFloat = float(rate)


def _picture(case: Dataset, format: VideoFormat) -> None:
    case.InstanceNumber, case.PatientOrientation = 1, None
    depth = format.depth
    case.SamplesPerPixel, case.PhotometricInterpretation, case.PlanarConfiguration = 3, _INTERPRETATIONS[format.sampling], 0
    case.BitsAllocated, case.BitsStored, case.HighBit = (8 if depth == 8 else 16), depth, depth - 1
    case.PixelRepresentation, case.LossyImageCompression = 0, "00"
    case.BurnedInAnnotation = "NO"
    case.StereoPairsPresent = "NO"
    case.ICCProfile = icc.profile()
    case.AcquisitionContextSequence = []
    region = Dataset()  # Type 1C, but a viewer and a receiver's checks deserve one
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "818981001", "SCT", "Abdomen"
    case.AnatomicRegionSequence = [region]


def _flow(source_id: bytes, flow_id: bytes, syntax: str, rate_hz: int) -> Dataset:
    flow, identity = Dataset(), Dataset()
    identity.FlowIdentifier, identity.FlowTransferSyntaxUID, identity.FlowRTPSamplingRate = flow_id, syntax, rate_hz
    flow.SourceIdentifier = source_id
    flow.FlowIdentifierSequence = [identity]
    return flow


# What one study's instances have in common: Patient, General Study, and the time line.
_SHARED = ("SpecificCharacterSet", "StudyDate", "StudyTime", "TimezoneOffsetFromUTC", "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
           "PatientComments", "StudyInstanceUID", "AccessionNumber", "StudyID", "ReferringPhysicianName", "StudyDescription", "InstitutionName",
           "InstitutionalDepartmentName", "OperatorsName")
_EQUIPMENT = ("Manufacturer", "SoftwareVersions", "SynchronizationFrameOfReferenceUID", "SynchronizationTrigger", "AcquisitionTimeSynchronized",
              "TimeDistributionProtocol")


def sound_part(picture: Dataset, instance_uid: str, source_id: bytes, flow_id: bytes, rate_hz: int) -> Dataset:
    """The static part that describes the sound of a picture's study (PS3.3 A.34.11); the ids are the 16 octets of the sound flow's UUIDs."""
    now = datetime.now(timezone.utc)
    part = _of_study(picture, _SHARED + _EQUIPMENT, AUDIO_WAVEFORM, instance_uid, "AU", 2)
    part.SeriesDescription, part.ManufacturerModelName, part.DeviceSerialNumber = "Theatre, live sound", "Rehearsal Microphone M1", "SIM-0002"
    part.InstanceNumber, part.ContentDate, part.ContentTime = 1, now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    part.AcquisitionDateTime = now.strftime("%Y%m%d%H%M%S+0000")
    part.AcquisitionContextSequence = []
    part.RealTimeBulkDataFlowSequence = [_flow(source_id, flow_id, ST2110_30_PCM, rate_hz)]
    return part


def rendition_part(picture: Dataset, sound: Dataset, instance_uid: str) -> Dataset:
    """The static part that says that a picture and a sound belong together (PS3.3 A.35.21, PS3.16 CID 7070)."""
    part = _of_study(picture, _SHARED + ("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions"), RENDITION_SELECTION, instance_uid, "KO", 3)
    title, evidence = Dataset(), Dataset()
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = "130371", "DCM", "RTV Audio and Video Rendition"
    part.InstanceNumber, part.ContentDate, part.ContentTime = 1, picture.ContentDate, picture.ContentTime
    part.ValueType, part.ContinuityOfContent, part.ConceptNameCodeSequence = "CONTAINER", "SEPARATE", [title]
    evidence.StudyInstanceUID, evidence.ReferencedSeriesSequence = picture.StudyInstanceUID, [_series_reference(picture), _series_reference(sound)]
    part.CurrentRequestedProcedureEvidenceSequence = [evidence]
    part.ContentSequence = [_content("IMAGE", picture), _content("WAVEFORM", sound)]
    return part


def _of_study(picture: Dataset, keywords: tuple[str, ...], class_uid: str, instance_uid: str, modality: str, series_number: int) -> Dataset:
    part = Dataset()
    for keyword in keywords:
        setattr(part, keyword, getattr(picture, keyword))
    part.SOPClassUID, part.SOPInstanceUID, part.Modality, part.SeriesInstanceUID, part.SeriesNumber = class_uid, instance_uid, modality, new_uid(), series_number
    return part


def _reference(part: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = part.SOPClassUID, part.SOPInstanceUID
    return reference


def _series_reference(part: Dataset) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID, series.ReferencedSOPSequence = part.SeriesInstanceUID, [_reference(part)]
    return series


def _content(kind: str, part: Dataset) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType, item.ReferencedSOPSequence = "CONTAINS", kind, [_reference(part)]
    return item
