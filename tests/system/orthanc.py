"""A hospital's PACS and worklist of the tests' own: Orthanc on loopback with its DICOMweb and worklist plug-ins, in a folder of its own."""
import base64
import json
import shutil
import subprocess
import urllib.request
from datetime import datetime
from pathlib import Path

from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from tests.system.theatre import free_ports, wait_until

PLUGINS = Path("/usr/share/orthanc/plugins")
USER, PASSWORD = "appliance", "a-password"
TITLE = "ORTHANC"


class Orthanc:
    """One Orthanc. start(), stop(); or use as a context manager."""

    def __init__(self, folder: Path):
        assert shutil.which("Orthanc"), "Orthanc is missing: apt-get install orthanc orthanc-dicomweb"
        self.folder, self.worklist = folder, folder / "worklist"
        self.worklist.mkdir(parents=True)
        self.http_port, self.dicom_port = free_ports(2)
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.dicomweb = f"{self.url}/dicom-web"
        (folder / "orthanc.json").write_text(json.dumps({
            "Name": "Tests", "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "storage"), "HttpPort": self.http_port,
            "DicomPort": self.dicom_port, "DicomAet": TITLE, "DicomCheckCalledAet": True, "RemoteAccessAllowed": False, "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD}, "Plugins": [str(PLUGINS / name) for name in ("libOrthancDicomWeb.so", "libModalityWorklists.so")],
            "DicomModalities": {"appliance": ["APPLIANCE", "127.0.0.1", 104]}, "DicomAlwaysAllowGet": True, "DicomAlwaysAllowFindWorklist": True,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}, "Worklists": {"Enable": True, "Database": str(self.worklist)}}))
        self._process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        with open(self.folder / "orthanc.log", "ab") as log:
            self._process = subprocess.Popen(["Orthanc", str(self.folder / "orthanc.json")], stdout=log, stderr=log, process_group=0)
        wait_until(self._answers, 20, "Orthanc")

    def stop(self):
        if self._process:
            process, self._process = self._process, None
            process.terminate()
            process.wait(20)

    def _answers(self):
        assert self._process.poll() is None, (self.folder / "orthanc.log").read_text()
        try:
            return self.ask("/system")
        except OSError:
            return None

    def ask(self, path, body=None, raw=False):
        """Orthanc's own REST interface."""
        request = urllib.request.Request(self.url + path, data=body)
        request.add_header("Authorization", "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            content = answer.read()
        return content if raw else json.loads(content)

    def kept(self):
        """{SOP instance UID: Orthanc's own identifier} of all that it keeps."""
        return {one["MainDicomTags"]["SOPInstanceUID"]: one["ID"] for one in self.ask("/instances?expand")}

    def file(self, identifier):
        """The octets of an instance."""
        return self.ask(f"/instances/{identifier}/file", raw=True)

    def comments(self):
        """The Image Comments of all that it keeps."""
        return [self.ask(f"/instances/{identifier}/simplified-tags").get("ImageComments", "") for identifier in self.kept().values()]

    def add(self, dataset: Dataset):
        """Puts an instance into it."""
        path = self.folder / "given.dcm"
        write(dataset, path)
        self.ask("/instances", path.read_bytes())

    def schedule(self, name, **values):
        """A scheduled procedure step of today; keywords are DICOM's."""
        item, step = Dataset(), Dataset()
        item.SpecificCharacterSet = "ISO_IR 192"
        step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = datetime.now().strftime("%Y%m%d"), "080000"
        step.Modality, step.ScheduledProcedureStepID, step.ScheduledStationAETitle = "ES", f"STEP-{name}", "ENDO3"
        step.ScheduledProcedureStepDescription = "Laparoscopy"
        item.PatientBirthDate, item.PatientSex = "19700101", "O"
        item.StudyInstanceUID, item.RequestedProcedureID, item.RequestedProcedureDescription = generate_uid(), f"REQ-{name}", "Cholecystectomy"
        for keyword, value in values.items():
            setattr(step if keyword.startswith("Scheduled") else item, keyword, value)
        item.ScheduledProcedureStepSequence = [step]
        item.SOPClassUID, item.SOPInstanceUID = "1.2.276.0.7230010.3.1.0.1", generate_uid()
        write(item, self.worklist / f"{name}.wl")


def write(dataset: Dataset, path: Path):
    """As a Part 10 file."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID, dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    dcmwrite(path, dataset, enforce_file_format=True)
