"""The whole stage over its Unix socket: real rings, a real worklist on loopback, a PACS that is not there."""
import asyncio
import json
import threading
from contextlib import contextmanager
from datetime import datetime

import aiohttp
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import ModalityWorklistInformationFind, Verification

from appliance import clock
from appliance.frame import DISCONTINUITY, STATIC, VideoFormat
from appliance.hospital.service import Hospital
from appliance.protocol import dicom_rtv, sdp
from appliance.protocol.dicom_rtv import build_grain, frame_item
from appliance.source.case import new_uid, static_part
from tests.workbench import Workbench, publish

VIDEO = VideoFormat(64, 36)


def scheduled(patient_id, accession_number, station="ENDO3"):
    item, step = Dataset(), Dataset()
    item.PatientName, item.PatientID, item.AccessionNumber, item.PatientBirthDate, item.PatientSex = f"Name^{patient_id}", patient_id, accession_number, "19700101", "O"
    item.RequestedProcedureID, item.StudyInstanceUID, item.RequestedProcedureDescription = f"REQ-{patient_id}", "2.25.5", "Cholecystectomy"
    step.ScheduledStationAETitle, step.ScheduledProcedureStepID, step.Modality = station, f"STEP-{patient_id}", "ES"
    step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = datetime.now().strftime("%Y%m%d"), "080000"
    item.ScheduledProcedureStepSequence = [step]
    return item


@contextmanager
def worklist(*items):
    """A worklist that matches its items by the keys that the stage sends."""
    def find(event):
        keys = event.identifier
        for item in items:
            step, wanted = item.ScheduledProcedureStepSequence[0], keys.ScheduledProcedureStepSequence[0]
            pairs = [(keys.PatientID, item.PatientID), (keys.AccessionNumber, item.AccessionNumber), (wanted.ScheduledStationAETitle, step.ScheduledStationAETitle),
                     (wanted.ScheduledStationName, "")]
            if all(not key or key == value for key, value in pairs):
                yield 0xFF00, item

    ae = AE("RIS")
    for context in (ModalityWorklistInformationFind, Verification):
        ae.add_supported_context(context)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, find)])
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


class Running:
    """The stage and a client at its socket."""

    def __init__(self, bench, client):
        self.bench, self._client = bench, client
        self._raw, self._records = bench.writer_into("raw.scope"), bench.writer_into("records.scope.expert.hospital")

    async def ask(self, method, path="", body=None):
        async with self._client.request(method, f"http://hospital/streams/scope{path}", json=body, headers={"X-Subject": "Dr.%20Beispiel"}) as answer:
            return answer.status, await answer.json(content_type=None)

    async def until(self, condition, what):
        for _ in range(400):
            _, state = await self.ask("GET")
            if condition(state):
                return state
            await asyncio.sleep(0.02)
        raise AssertionError(f"never: {what}; {state}")

    def show(self, rtp_timestamp, **header):
        publish(self._raw, np.full(VIDEO.frame_bytes, 128, np.uint8), rtp_timestamp=rtp_timestamp, capture_tai_ns=clock.tai_ns(), **header)

    def say(self, patient_id, accession_number, rtp_timestamp=0, uid=None):
        uid = uid or new_uid()
        part = static_part(uid, bytes(16), bytes(16), VIDEO)
        part.PatientID, part.AccessionNumber = patient_id, accession_number
        grain = build_grain(part, frame_item(clock.tai_ns(), 1), instance_uid=uid, source_id=bytes(16), flow_id=bytes(16), frame_duration_ms=20.0)
        record = np.frombuffer(dicom_rtv.message(grain, rtp_timestamp, clock.tai_ns(), True), np.uint8)
        publish(self._records, record, rtp_timestamp=rtp_timestamp, payload_bytes=len(record), flags=STATIC | DISCONTINUITY, publish_tai_ns=clock.tai_ns())
        return uid


@pytest.fixture
def in_stage(tmp_path):
    """Runs a coroutine function against the stage."""
    def run(scenario, *items):
        (tmp_path / "meta.sdp").write_text(sdp.emit_metadata(sdp.MetadataFlow(group="239.1.2.4", port=5006, payload_type=104, extension_ids={})))
        with worklist(*items) as port:
            bench = Workbench(tmp_path, "hospital", VIDEO, stream=f'metadata = "meta.sdp"\nstation = "ENDO3"\n[pacs]\ndicomweb = "http://127.0.0.1:9/web"\n'
                                                                 f'[worklist]\nhost = "127.0.0.1"\nport = {port}\nae_title = "RIS"\ntimeout_s = 3\n')
            try:
                asyncio.run(_within(bench, scenario))
            finally:
                bench.close()
    return run


async def _within(bench, scenario):
    serving = asyncio.create_task(Hospital(bench.stage).serve())
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(bench.stage.peers["hospital"])) as client:
        while not bench.value("appliance_stage_ready"):
            assert not serving.done(), serving.exception()
            await asyncio.sleep(0)
        await scenario(Running(bench, client))
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


def test_a_press_is_on_the_disk_before_it_is_answered_and_says_why_it_waits(in_stage):
    async def scenario(stage):
        stage.say("P-1", "A-1")
        stage.show(9000)
        status, taken = await stage.ask("POST", "/snapshots", {"rtp_timestamp": 9000})
        assert (status, taken["offset_ms"], taken["bits"]) == (201, 0, 10)
        [image, _] = sorted((stage.bench.config.server.state_dir / "snapshots").glob("*.dcm"), key=lambda path: path.stat().st_size)
        assert dcmread(image).PatientID == "P-1" and dcmread(image).ImageComments.startswith("Snapshot by Dr. Beispiel")
        state = await stage.until(lambda state: state["pacs"]["snapshots"] and state["pacs"]["snapshots"][0]["problem"], "a reason for waiting")
        assert state["pacs"]["snapshots"][0]["state"] == "waiting" and state["pacs"]["problem"] == "The PACS does not answer."
        assert stage.bench.value("appliance_hospital_snapshots_total", stream="scope", frame="exact") == 1
        status, problem = await stage.ask("GET", "/studies")
        assert (status, problem["reason"]) == (504, "unreachable")
    in_stage(scenario)


def test_what_cannot_be_attributed_is_refused_with_the_reason(in_stage):
    async def scenario(stage):
        assert (await stage.ask("POST", "/snapshots", {"rtp_timestamp": 9000}))[1]["reason"] == "no_picture"
        stage.show(9000)
        status, problem = await stage.ask("POST", "/snapshots", {"rtp_timestamp": 9000})
        assert (status, problem["reason"]) == (409, "no_patient")
        for body in ({}, {"rtp_timestamp": "9000"}, {"rtp_timestamp": -1}, {"rtp_timestamp": 1 << 32}, {"rtp_timestamp": True}, {"rtp_timestamp": 1, "bookmark": 1}, []):
            assert (await stage.ask("POST", "/snapshots", body))[0] == 400, body
        assert not list((stage.bench.config.server.state_dir / "snapshots").glob("*.dcm"))
        assert stage.bench.value("appliance_hospital_snapshots_refused_total", stream="scope", reason="no_patient") == 1
        assert (await stage.ask("GET", "/nothing"))[0] == 404
    in_stage(scenario)


def test_the_case_follows_the_patient_whom_the_theatre_names(in_stage):
    async def scenario(stage):
        stage.say("P-1", "")
        state = await stage.until(lambda state: state["worklist"]["case"], "a case")
        assert state["worklist"]["case"]["patient_id"] == "P-1" and state["worklist"]["how"] == "patient ID" and state["worklist"]["mismatch"] == []
        stage.say("P-2", "A-2")
        state = await stage.until(lambda state: state["worklist"]["case"]["patient_id"] == "P-2", "the next case")
        assert state["worklist"]["how"] == "accession number"
    in_stage(scenario, scheduled("P-1", "A-1"), scheduled("P-2", "A-2"))


def test_the_only_case_of_the_station_contradicts_another_patient_on_the_table(in_stage):
    async def scenario(stage):
        stage.say("P-9", "A-9")
        state = await stage.until(lambda state: state["worklist"]["mismatch"], "a warning")
        assert {"field": "Patient ID", "worklist": "P-1", "theatre": "P-9"} in state["worklist"]["mismatch"] and not state["pacs"]["patient"]
        stage.show(9000)
        assert (await stage.ask("POST", "/snapshots", {"rtp_timestamp": 9000}))[1]["reason"] in ("mismatch", "no_patient")
        assert (await stage.ask("GET", "/studies"))[1] == {"studies": []}, "nobody's studies while two are named"
    in_stage(scenario, scheduled("P-1", "A-1"))


def test_a_choice_is_an_experts_and_ends_with_the_theatres_session(in_stage):
    async def scenario(stage):
        stage.say("P-1", "A-1")
        await stage.until(lambda state: state["worklist"]["case"], "a case")
        assert (await stage.ask("PUT", "/case", {"key": "made|up|by|me"}))[0] == 404
        _, found = await stage.ask("GET", "/worklist?patient_id=P-7")
        [other] = found["cases"]
        _, state = await stage.ask("PUT", "/case", {"key": other["key"]})
        assert state["worklist"]["how"] == "chosen by Dr. Beispiel" and state["worklist"]["mismatch"]
        kept = json.loads((stage.bench.config.server.state_dir / "cases.json").read_text())
        assert kept["scope"]["case"]["patient_id"] == "P-7" and (stage.bench.config.server.state_dir / "cases.json").stat().st_mode & 0o077 == 0
        _, state = await stage.ask("DELETE", "/case")
        assert state["worklist"]["case"] is None and state["worklist"]["mismatch"] == []
        stage.say("P-1", "A-1")
        await stage.until(lambda state: state["worklist"]["case"] and state["worklist"]["how"] == "accession number", "the match of a new session")
        for wild in ("P-*", "%3F", "a%5Cb"):
            assert (await stage.ask("GET", f"/worklist?patient_id={wild}"))[1] == {"cases": []}
    in_stage(scenario, scheduled("P-1", "A-1"), scheduled("P-7", "A-7", "ELSEWHERE"), scheduled("P-8", "A-8"))


def test_studies_that_were_not_found_for_this_patient_are_unknown(in_stage):
    async def scenario(stage):
        stage.say("P-1", "A-1")
        await stage.until(lambda state: state["pacs"]["patient"], "a patient")
        for path in ("/studies/1.2.3/series", "/studies/1.2.3/series/1.4/instances", "/studies/1.2.3/series/1.4/instances/1.5/frames/1"):
            assert (await stage.ask("GET", path))[0] == 404
        assert (await stage.ask("GET", "/studies/1.2/series/1.4/instances/1.5/frames/x"))[0] == 400
        assert threading.active_count() < 40
    in_stage(scenario)
