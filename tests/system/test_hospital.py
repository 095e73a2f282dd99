"""The hospital's systems as an expert meets them: a real Orthanc as PACS and worklist, the appliance, and a real Chromium."""
import io
import json
import ssl
import subprocess
import urllib.error
import urllib.request
from datetime import datetime

import pytest
from pydicom import dcmread

from tests.system.orthanc import PASSWORD, TITLE, USER, Orthanc
from tests.system.theatre import Theatre, wait_until
from tests.unit.source.pictures import stamped_microseconds

PLAYING = "window.applianceViewer && applianceViewer.frames > 25"
PATIENT = dict(PatientName="Prüfling^Zoë", PatientID="DEMO-000042")
TABLES = """\
[worklist]
host = "127.0.0.1"
port = {orthanc.dicom_port}
ae_title = "{title}"
[pacs]
dicomweb = "{orthanc.dicomweb}"
username = "{user}"
password = "{password}"
history_ms = 1500
"""
PROBLEMS = "window.problems = []; addEventListener('securitypolicyviolation', event => problems.push(event.violatedDirective)); addEventListener('error', event => problems.push(event.message))"


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    with Orthanc(tmp_path_factory.mktemp("orthanc") / "o") as orthanc:
        orthanc.schedule("right", AccessionNumber="DEMO-2026-0001", **PATIENT)
        orthanc.schedule("other", AccessionNumber="X-2", PatientName="Other^Person", PatientID="X-2", PatientBirthDate="19800203", ScheduledProcedureStepStartTime="110000")
        yield orthanc


@pytest.fixture(scope="module")
def theatre(tmp_path_factory, orthanc):
    tables = TABLES.format(orthanc=orthanc, title=TITLE, user=USER, password=PASSWORD)
    with Theatre(tmp_path_factory.mktemp("theatre"), ["--timestamp-bars"], stream='station = "ENDO3"', tables=tables) as theatre:
        yield theatre


@pytest.fixture(scope="module")
def page(theatre, browser):
    page = browser.open("about:blank", 1440, 900)
    page.call("Page.addScriptToEvaluateOnNewDocument", source=PROBLEMS)
    page.call("Page.navigate", url=theatre.link("expert"))
    page.wait(PLAYING, 30)
    yield page
    page.close()


def ask(theatre, method, path="", body=None, role="expert"):
    """(status, JSON or None) of the gateway's own API."""
    request = urllib.request.Request(f"{theatre.url}/api/streams/endoscope/hospital{path}", None if body is None else json.dumps(body).encode(), method=method)
    request.add_header("Authorization", f"Bearer {theatre.token(role)}")
    if body is not None:
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, context=ssl._create_unverified_context(), timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def press(page, key):
    page.evaluate(f"document.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}', bubbles: true}}))")


def text_of(name):
    return f"(document.getElementById('{name}').hidden ? '' : document.getElementById('{name}').textContent)"


def test_the_case_of_the_patient_on_the_table_stands_beside_the_picture(page):
    page.wait(f"{text_of('case')}.includes('Zoë Prüfling')", 20)
    assert "Cholecystectomy" in page.evaluate(text_of("case")) and "Matched by accession number." in page.evaluate(text_of("case"))
    assert page.evaluate("document.getElementById('mismatch').hidden")


def test_one_press_stores_the_very_frame_at_full_depth(page, orthanc, theatre, tmp_path):
    before = orthanc.kept()
    page.wait("!document.getElementById('take-snapshot').hidden")
    press(page, "s")
    page.wait(f"{text_of('said')}.startsWith('Picture taken')", 15)
    page.wait("document.getElementById('snapshot-list').textContent.includes('In the PACS')", 30)
    new = wait_until(lambda: found if len(found := orthanc.kept().keys() - before.keys()) == 2 else None, 20, "two instances")
    kept = orthanc.kept()
    images = {}
    for octets in (orthanc.file(kept[uid]) for uid in new):
        (tmp_path / "stored.dcm").write_bytes(octets)
        said = subprocess.run(["dciodvfy", tmp_path / "stored.dcm"], capture_output=True, text=True, timeout=20).stderr.splitlines()
        assert len(said) == 1, said
        image = dcmread(io.BytesIO(octets))
        images[image.BitsStored] = image
    assert set(images) == {8, 10} and (images[10].Rows, images[10].Columns) == (720, 1280)
    assert str(images[8].PatientName).startswith("Prüfling^Zoë") and images[8].AccessionNumber == "DEMO-2026-0001"
    lines = images[8].ImageComments.split("\r\n")
    timestamp = int(lines[-1].removeprefix("RTP timestamp "))
    # The stamp that the source burnt into this frame is of the moment that the instance names.
    stamp = stamped_microseconds(images[8].pixel_array[..., 1], 255, 0)
    taken = datetime.strptime(images[8].AcquisitionDateTime, "%Y%m%d%H%M%S.%f%z").timestamp() * 1e6
    assert abs(stamp - taken % 2**48) < 500_000, "a frame of another time"
    assert page.evaluate(f"applianceViewer.samples.some(sample => Math.abs(sample.rtpTimestamp - {timestamp}) <= 1)"), "a frame that was on the screen"
    assert len(lines) == 2 and theatre.metric("appliance_hospital_snapshots_total", frame="exact") == 1, lines


def test_a_moment_is_marked_first_and_its_note_comes_after(page, orthanc):
    press(page, "b")
    page.wait("!document.getElementById('note-form').hidden", 15)
    page.evaluate("document.getElementById('note-field').value = 'Calot <b>triangle</b>'; document.querySelector('#note-form button').click()")
    page.wait(f"{text_of('said')} === 'Note added to the picture.'", 10)

    noted = wait_until(lambda: [comments for comments in orthanc.comments() if "Calot <b>triangle</b>" in comments], 20, "the bookmark in the PACS")
    assert noted[0].startswith("Bookmark by expert")


def test_prior_studies_come_on_demand_as_thumbnails_and_single_frames(page):
    assert page.evaluate("document.getElementById('priors-list').childElementCount") == 0
    page.wait("!document.getElementById('priors-ask').disabled")
    page.evaluate("document.getElementById('priors-ask').click()")
    page.wait("document.querySelectorAll('#priors-list .study').length === 1", 15)
    page.evaluate("document.querySelector('#priors-list .study').open = true")
    page.wait("document.querySelectorAll('.thumbnail').length >= 4 && [...document.querySelectorAll('.thumbnail canvas')].every(canvas => canvas.width > 0)", 30)
    page.evaluate("document.querySelector('.thumbnail').click()")
    page.wait("document.getElementById('prior').open && document.getElementById('prior-picture').width === 1280", 15)
    assert page.evaluate("document.getElementById('prior-state').textContent") == "1 of 2"
    page.evaluate("document.getElementById('prior-next').click()")
    page.wait("document.getElementById('prior-state').textContent === '2 of 2'", 15)
    page.evaluate("document.getElementById('prior-close').click()")


def test_a_case_of_another_patient_is_a_loud_warning_and_stores_nothing(page, theatre):
    page.evaluate("document.getElementById('case-choice').open = true")
    page.wait("document.querySelectorAll('#case-found .choice').length === 2", 15)
    page.evaluate("[...document.querySelectorAll('#case-found .choice')].find(one => one.textContent.includes('X-2')).click()")
    page.wait("!document.getElementById('mismatch').hidden", 10)
    alarm = page.evaluate("document.getElementById('mismatch').innerText")
    assert "Two different patients" in alarm and "X-2 in the worklist, DEMO-000042 in the theatre" in alarm and "3 Feb 1980" in alarm
    wait_until(lambda: theatre.metric("appliance_hospital_mismatch") == 1, 5, "the metric")
    press(page, "s")
    page.wait(f"{text_of('said')}.startsWith('Not stored. The case chosen is not the patient')", 10)
    assert page.evaluate("document.getElementById('priors-ask').disabled")
    page.evaluate("document.getElementById('case-none').click()")
    page.wait("document.getElementById('mismatch').hidden && document.getElementById('case-name').hidden", 10)
    assert ask(theatre, "PUT", "/case", {"key": "DEMO-000042|DEMO-2026-0001|REQ-right|STEP-right"})[0] == 200


def test_a_student_learns_nothing_of_it(theatre, browser):
    for method, path, body in (("GET", "", None), ("GET", "/worklist", None), ("GET", "/studies", None), ("POST", "/snapshots", {"rtp_timestamp": 1}),
                               ("PUT", "/case", {"key": "x"}), ("DELETE", "/case", None), ("GET", "/nothing", None)):
        status, answer = ask(theatre, method, path, body, "student")
        assert status == 403 and answer["detail"] == "This is for experts."
    page = browser.open(theatre.link("student"), 390, 844, True)
    page.wait(PLAYING, 30)
    text = page.evaluate("document.body.innerText")
    assert not any(word in text for word in ("PACS", "worklist", "Prior", "Case")) and page.evaluate("document.getElementById('take-snapshot').offsetWidth") == 0
    assert "/hospital" not in page.evaluate("performance.getEntriesByType('resource').map(one => one.name).join()")
    page.close()


def test_a_dead_pacs_and_a_killed_stage_lose_nothing_and_disturb_nobody(page, orthanc, theatre):
    before, sessions = orthanc.kept(), page.evaluate("applianceViewer.sessions")
    orthanc.stop()
    press(page, "s")
    page.wait(f"{text_of('said')}.startsWith('Picture taken')", 15)
    page.wait("document.getElementById('snapshot-list').textContent.includes('Waiting on the appliance: The PACS does not answer.')", 20)
    assert theatre.metric("appliance_hospital_snapshots_waiting") == 2
    theatre.kill("hospital")
    orthanc.start()
    wait_until(lambda: "hospital" in theatre.stages() and theatre.metric("appliance_stage_ready", stage="hospital") == 1, 30, "the stage again")
    frames = page.evaluate("applianceViewer.frames")
    wait_until(lambda: len(orthanc.kept()) == len(before) + 2, 60, "the picture in the PACS")
    page.wait("document.getElementById('snapshot-list').firstElementChild?.textContent.includes('In the PACS')", 20)
    assert page.evaluate("applianceViewer.sessions") == sessions and page.evaluate("applianceViewer.frames") > frames
    assert not list((theatre.folder / "state" / "snapshots").glob("*.dcm")), "what the PACS has is kept here no longer"


def test_the_page_kept_to_its_policy(page):
    assert page.evaluate("problems") == []
