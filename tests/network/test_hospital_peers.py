"""A real Orthanc by both languages: what is stored is found, listed and shown; the worklist's cases match; TLS holds."""
import asyncio
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmwrite

from appliance.config import load
from appliance.frame import VideoFormat
from appliance.hospital import archive, image, reach
from appliance.hospital.cases import _query
from appliance.hospital.dicomweb import WebArchive
from appliance.hospital.dimse import DimseArchive, Worklist
from appliance.hospital.identity import case_of, differences
from appliance.hospital.problem import PeerFailed
from appliance.hospital.theatre import RawFrame
from appliance.hospital_config import DimsePeer, WebPeer
from appliance.source.case import new_uid, static_part
from tests.system.orthanc import PASSWORD, TITLE, USER, Orthanc

VIDEO = VideoFormat(320, 180)


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    with Orthanc(tmp_path_factory.mktemp("orthanc") / "o") as orthanc:
        orthanc.schedule("one", PatientID="P-1", PatientName="Ärger^Zoë", AccessionNumber="A-1")
        orthanc.schedule("two", PatientID="P-2", PatientName="Other^One", AccessionNumber="A-2", ScheduledStationAETitle="ENDO9")
        yield orthanc


@pytest.fixture(params=["dicomweb", "dimse"])
def pacs(request, orthanc):
    """An archive's maker, of each language."""
    if request.param == "dicomweb":
        return lambda: WebArchive(WebPeer(orthanc.dicomweb, USER, PASSWORD))
    return lambda: DimseArchive(DimsePeer("127.0.0.1", orthanc.dicom_port, TITLE))


def snapshot(folder: Path, patient: str) -> list[Path]:
    static = static_part(new_uid(), bytes(16), bytes(16), VIDEO)
    static.PatientID = patient
    frame = RawFrame(np.random.default_rng(1).integers(0, 256, VIDEO.frame_bytes, dtype=np.uint8).tobytes(), VIDEO, 1, 1_900_000_000_000_000_000, 1, 0, 0, 0)
    press = image.Press(frame, "Endoscope", static, None, "expert", False, 1, image.captured_utc(frame.capture_tai_ns))
    paths = []
    for instance in image.instances(press, full_depth=True):
        paths.append(folder / f"{instance.SOPInstanceUID}.dcm")
        dcmwrite(paths[-1], instance, enforce_file_format=True)
    return paths


def test_what_was_stored_is_found_and_shown(pacs, request, tmp_path):
    patient = f"P-{request.node.callspec.id}"

    async def scenario():
        opened = pacs()
        try:
            await opened.verify()
            for path in snapshot(tmp_path, patient):
                await opened.store(path, path.stem)
                await opened.store(path, path.stem)  # once more, as after a crash between the PACS's word and ours
            [study] = await opened.studies(patient)
            assert study.description == "Laparoscopic cholecystectomy (synthetic)" and study.instances == 2
            for one in await opened.series(study.uid):
                [instance] = await opened.instances(study.uid, one.uid)
                for side, size in ((archive.THUMBNAIL_SIDE, (192, 108)), (archive.PICTURE_SIDE, (320, 180))):
                    with Image.open(io.BytesIO(await opened.picture(study.uid, one.uid, instance, 1, side))) as shown:
                        assert (shown.format, shown.size) == ("JPEG", size)
            assert await opened.studies("P-") == [] and await opened.studies("*") == []
        finally:
            await opened.close()
    asyncio.run(scenario())


def test_check_asks_both_and_says_what_to_mend(orthanc, tmp_path):
    def noted(worklist, web):
        path = tmp_path / "appliance.toml"
        path.write_text(f'[[stream]]\nname = "a"\ninterface = "lo"\nvideo = "a.sdp"\n[worklist]\nhost = "127.0.0.1"\nport = {orthanc.dicom_port}\nae_title = "{worklist}"\n'
                        f'[pacs]\ndicomweb = "{web}"\nusername = "{USER}"\npassword = "{PASSWORD}"\ntimeout_s = 2\n')
        path.chmod(0o600)
        return reach.notes(load(path))

    [clear] = noted(TITLE, orthanc.dicomweb)
    assert "in the clear" in clear
    worklist, pacs, _ = noted("SOMEBODY", "http://127.0.0.1:9/web")
    assert worklist.startswith("[worklist] SOMEBODY at 127.0.0.1:") and "is AE title APPLIANCE" in worklist and pacs.endswith("The PACS does not answer.")


def test_a_wrong_password_is_named(orthanc):
    async def scenario():
        opened = WebArchive(WebPeer(orthanc.dicomweb, USER, "wrong"))
        try:
            with pytest.raises(PeerFailed, match="password or token"):
                await opened.verify()
        finally:
            await opened.close()
    asyncio.run(scenario())


@pytest.mark.parametrize(("keys", "found"), [({"patient_id": "P-1"}, ["P-1"]), ({"accession_number": "A-2"}, ["P-2"]), ({"station": "ENDO9"}, ["P-2"]),
                                             ({"patient_id": "P"}, []), ({}, ["P-1", "P-2"])])
def test_the_worklist_is_asked_by_patient_accession_and_station(orthanc, keys, found):
    cases = [case_of(item) for item in Worklist(DimsePeer("127.0.0.1", orthanc.dicom_port, TITLE)).find(_query("", **keys), 100)]
    assert sorted(case.patient_id for case in cases) == found
    for case in cases:
        assert case.description == "Cholecystectomy" and case.step_id.startswith("STEP-") and case.study_uid and case.modality == "ES"


def test_a_case_of_todays_theatre_is_told_from_another_patients(orthanc):
    [case] = [case_of(item) for item in Worklist(DimsePeer("127.0.0.1", orthanc.dicom_port, TITLE)).find(_query("", patient_id="P-1"), 100)]
    theatre = static_part(new_uid(), bytes(16), bytes(16), VIDEO)
    theatre.PatientID, theatre.AccessionNumber = "P-1", "A-1"
    assert differences(case, case_of(theatre)) == []
    theatre.PatientID, theatre.PatientBirthDate = "P-7", "19630405"
    assert [one["field"] for one in differences(case, case_of(theatre))] == ["Patient ID", "Date of birth"]
