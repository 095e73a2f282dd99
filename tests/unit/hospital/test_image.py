"""A snapshot's DICOM instances: valid to an independent validator, and true to the frame and to the patient."""
import subprocess
from dataclasses import replace
from datetime import datetime, timezone
from fractions import Fraction

import numpy as np
import pytest
from pydicom import dcmread, dcmwrite

from appliance.frame import INCOMPLETE, VideoFormat
from appliance.hospital import image
from appliance.hospital.identity import Case
from appliance.hospital.theatre import RawFrame
from appliance.protocol import icc
from appliance.source.case import new_uid, static_part

VIDEO = VideoFormat(64, 36, rate=Fraction(50))
WHEN = datetime(2026, 11, 27, 13, 14, 15, 160_000, timezone.utc)
CASE = Case(patient_name="Prüfling^Zoë", patient_id="P-1", birth_date="19700101", sex="F", accession_number="A-1", study_uid="2.25.77", description="Cholecystectomy",
            procedure_id="REQ-1", step_id="STEP-1", step_description="Laparoscopy")


@pytest.fixture
def press():
    raw = np.random.default_rng(1).integers(0, 256, VIDEO.frame_bytes, dtype=np.uint8).tobytes()
    frame = RawFrame(raw, VIDEO, 4_000_000_000, 1_900_000_000_000_000_000, 7, 0, 0, 0)
    static = static_part(new_uid(), bytes(16), bytes(16), VIDEO)
    return image.Press(frame, "Endoscope, theatre 3", static, None, "Dr. Beispiel", False, 3, WHEN)


def complaints(instance, path):
    """What dciodvfy says beyond the name of the IOD."""
    dcmwrite(path, instance, enforce_file_format=True)
    said = subprocess.run(["dciodvfy", path], capture_output=True, text=True, timeout=20).stderr.splitlines()
    assert said[0] in ("VLEndoscopicImage", "SCImage")
    return said[1:]


@pytest.mark.parametrize("depth", [8, 10, 12, 16])
def test_the_validator_finds_nothing(press, tmp_path, depth):
    video = replace(VIDEO, depth=depth)
    raw = np.random.default_rng(1).integers(0, 256, video.frame_bytes, dtype=np.uint8).tobytes()
    frame = replace(press.frame, octets=raw, format=video, offset_ticks=1800, flags=INCOMPLETE, rows_missing=2)
    made = list(image.instances(replace(press, frame=frame), full_depth=True))
    assert len(made) == (1 if depth == 8 else 2)
    for number, instance in enumerate(made):
        assert complaints(instance, tmp_path / f"{number}.dcm") == []


def test_pixels_that_are_not_square_are_told_and_not_touched(press, tmp_path):
    frame = replace(press.frame, format=replace(VIDEO, pixel_aspect=Fraction(16, 11)))
    for number, (square, other) in enumerate(zip(image.instances(press, True), image.instances(replace(press, frame=frame), True))):
        assert "PixelAspectRatio" not in square and other.PixelAspectRatio == [11, 16], "height and width of a pixel"
        assert (other.Rows, other.Columns) == (36, 64) and other.PixelData == square.PixelData
        assert complaints(other, tmp_path / f"{number}.dcm") == []


def test_the_validator_finds_nothing_but_the_unknown_side_of_a_case_without_metadata(press, tmp_path):
    for number, instance in enumerate(image.instances(replace(press, static=None, case=CASE), full_depth=True)):
        [warning] = complaints(instance, tmp_path / f"{number}.dcm")
        assert warning.startswith("Warning") and "<Laterality>" in warning


def test_it_is_the_theatres_patient_and_study_and_device(press, tmp_path):
    [endoscopic, full] = image.instances(press, full_depth=True)
    dcmwrite(tmp_path / "x.dcm", endoscopic, enforce_file_format=True)
    read = dcmread(tmp_path / "x.dcm")
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "AccessionNumber", "StudyDate", "Manufacturer",
                    "DeviceSerialNumber", "ICCProfile"):
        assert read[keyword].value == press.static[keyword].value, keyword
    assert read.AnatomicRegionSequence[0].CodeMeaning == "Abdomen" and read.Modality == "ES"
    assert read.SOPInstanceUID not in (full.SOPInstanceUID, press.static.SOPInstanceUID) and read.SeriesInstanceUID != press.static.SeriesInstanceUID
    assert read.AcquisitionDateTime == "20261127131415.160000+0000" and read.InstanceNumber == 3
    assert read.ContributingEquipmentSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == "109105"


def test_both_depths_are_of_the_same_frame(press):
    endoscopic, full = image.instances(press, full_depth=True)
    assert (endoscopic.BitsAllocated, endoscopic.BitsStored) == (8, 8) and (full.BitsAllocated, full.BitsStored, full.HighBit) == (16, 10, 9)
    eight, ten = np.frombuffer(endoscopic.PixelData, np.uint8), np.frombuffer(full.PixelData, "<u2")
    assert np.abs(eight / 255 - ten / 1023).max() <= 0.5 / 255 + 0.5 / 1023
    assert [one.PhotometricInterpretation for one in (endoscopic, full)] == ["RGB", "RGB"]
    assert len(list(image.instances(press, full_depth=False))) == 1


def test_a_second_press_joins_the_series_and_another_camera_has_its_own(press):
    def series(one):
        return next(image.instances(one, full_depth=False)).SeriesInstanceUID

    other = static_part(new_uid(), bytes(16), bytes(16), VIDEO)
    other.StudyInstanceUID, other.DeviceSerialNumber = press.static.StudyInstanceUID, "ANOTHER"
    assert series(press) == series(replace(press, number=4)) != series(replace(press, static=other))


def test_a_chosen_case_gives_the_request_and_alone_the_patient_too(press):
    beside = next(image.instances(replace(press, case=CASE), full_depth=False))
    assert beside.PatientID == press.static.PatientID and beside.RequestAttributesSequence[0].ScheduledProcedureStepID == "STEP-1"
    alone = next(image.instances(replace(press, static=None, case=CASE), full_depth=False))
    assert (alone.PatientID, alone.StudyInstanceUID, alone.AccessionNumber, str(alone.PatientName)) == ("P-1", "2.25.77", "A-1", "Prüfling^Zoë")


def test_the_comment_says_who_pressed_and_what_a_reader_must_know(press):
    frame = replace(press.frame, offset_ticks=7200, flags=INCOMPLETE, rows_missing=2)
    made = next(image.instances(replace(press, frame=frame, bookmark=True), full_depth=False))
    image.write_note(made, "Cystic duct?\nclip\x00 here ")
    assert made.ImageComments.split("\r\n") == ["Bookmark by Dr. Beispiel: Cystic duct? clip  here", "The frame 80 ms after the one asked for",
                                                "2 rows were damaged on the way from the camera", "RTP timestamp 4000000000"]


def test_a_profile_that_is_none_is_replaced_and_a_wide_gamut_gets_its_own(press):
    press.static.ICCProfile = b"no profile at all"
    assert next(image.instances(press, full_depth=False)).ICCProfile == icc.profile()
    wide = replace(press, frame=replace(press.frame, format=replace(VIDEO, colorimetry="BT2020")))
    profile = next(image.instances(wide, full_depth=False)).ICCProfile
    assert profile == icc.profile("BT2020") != icc.profile() and icc.is_rgb(profile)


def test_an_odd_number_of_octets_is_padded(press, tmp_path):
    video = VideoFormat(5, 3, "RGB", 8)
    made = next(image.instances(replace(press, frame=replace(press.frame, octets=bytes(45), format=video)), full_depth=True))
    assert len(made.PixelData) == 46 and complaints(made, tmp_path / "x.dcm") == []
