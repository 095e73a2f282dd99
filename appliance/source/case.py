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
from appliance.protocol.dicom_rtv import ST2110_20_INTERLACED, ST2110_20_PROGRESSIVE, VIDEO_ENDOSCOPIC
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
    case.RealTimeBulkDataFlowSequence = [_flow(video_source_id, video_flow_id, format.by_fields)]
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


def _flow(source_id: bytes, flow_id: bytes, by_fields: bool) -> Dataset:
    flow, identity = Dataset(), Dataset()
    syntax = ST2110_20_INTERLACED if by_fields else ST2110_20_PROGRESSIVE
    identity.FlowIdentifier, identity.FlowTransferSyntaxUID, identity.FlowRTPSamplingRate = flow_id, syntax, 90_000
    flow.SourceIdentifier = source_id
    flow.FlowIdentifierSequence = [identity]
    return flow
