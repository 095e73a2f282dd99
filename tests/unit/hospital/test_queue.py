"""The queue on the disk: nothing leaves it unconfirmed, whatever is killed when, and everything in it has a limit."""
import logging
import os
import signal
import sqlite3
import stat
import tempfile
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset

from appliance.hospital.image import SECONDARY_CAPTURE, VL_ENDOSCOPIC, write_note
from appliance.hospital.problem import SnapshotRefused
from appliance.hospital.queue import HELD, REJECTED, STORED, WAITING, Queue

LOG = logging.getLogger("queue under test")


def picture(uid, class_uid=VL_ENDOSCOPIC):
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID, image.ImageComments, image.PixelData = class_uid, uid, "Bookmark by E", bytes(64)
    image["PixelData"].VR = "OB"
    image.Rows, image.Columns = 8, 8
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID, image.file_meta.MediaStorageSOPClassUID, image.file_meta.MediaStorageSOPInstanceUID = "1.2.840.10008.1.2.1", class_uid, uid
    return image


@pytest.fixture
def queue(tmp_path):
    opened = Queue(tmp_path / "snapshots", 1 << 30, LOG)
    yield opened
    opened.close()


def reopened(queue):
    queue.close()
    return Queue(queue.folder, 1 << 30, LOG)


def test_a_picture_stays_until_it_is_confirmed(queue):
    [first, second] = queue.add([picture("2.25.1"), picture("2.25.2", SECONDARY_CAPTURE)], "scope", 1000, False, 40)
    assert [one.uid for one in queue.due(False)] == ["2.25.1", "2.25.2"], "the endoscopic one first"
    queue.failed(first, "The PACS does not answer.", rejected=False)
    again = reopened(queue)
    [waiting, _] = again.due(False)
    assert (waiting.uid, waiting.attempts, waiting.problem) == ("2.25.1", 1, "The PACS does not answer.")
    again.stored(waiting)
    assert [one.uid for one in again.due(False)] == ["2.25.2"] and not again.path("2.25.1").exists() and again.path("2.25.2").exists()
    assert [(one.uid, one.state, one.offset_ms) for one in again.latest("scope", 9)] == [("2.25.1", STORED, 40), ("2.25.2", WAITING, 40)]
    assert again.waiting()[0] == 1 and again.count("scope") == 1
    again.close()


def test_a_rejected_picture_keeps_nobody_waiting_and_is_offered_again(queue):
    [first] = queue.add([picture("2.25.1")], "scope", 1, False, 0)
    queue.failed(first, "The PACS will not keep the picture.", rejected=True)
    assert queue.due(False) == [] and [one.state for one in queue.due(True)] == [REJECTED] and queue.path("2.25.1").exists()


def test_a_bookmark_waits_for_its_note_and_goes_without_one_in_time(queue):
    queue.add([picture("2.25.1")], "scope", 1, True, 0, held_until_s=9e9)
    queue.add([picture("2.25.2")], "scope", 2, True, 0, held_until_s=1.0)
    assert [one.uid for one in queue.due(False)] == ["2.25.2"]
    assert not queue.note("microscope", "2.25.1", lambda image: write_note(image, "of another stream"))
    assert queue.note("scope", "2.25.1", lambda image: write_note(image, "bile duct"))
    assert dcmread(queue.path("2.25.1")).ImageComments == "Bookmark by E: bile duct"
    assert {one.state for one in queue.due(False)} == {WAITING} and not queue.note("scope", "2.25.1", lambda image: write_note(image, "late"))
    assert dcmread(queue.path("2.25.1")).ImageComments == "Bookmark by E: bile duct"


def test_only_the_appliance_reads_it(queue):
    queue.add([picture("2.25.1")], "scope", 1, False, 0)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [queue.folder, *queue.folder.iterdir()]}
    assert modes.pop("snapshots") == 0o700 and set(modes.values()) == {0o600} and len(modes) >= 2


def test_a_full_queue_refuses_and_keeps_what_it_has(tmp_path):
    queue = Queue(tmp_path / "snapshots", 1000, LOG)
    queue.add([picture("2.25.1")], "scope", 1, False, 0)
    large = picture("2.25.2")
    large.PixelData = bytes(4000)
    with pytest.raises(SnapshotRefused, match="wait for the PACS"):
        queue.add([large], "scope", 2, False, 0)
    assert [one.uid for one in queue.due(True)] == ["2.25.1"] and not list(queue.folder.glob("*.part"))
    queue.close()


def test_a_broken_database_is_put_aside_and_the_pictures_are_kept(queue, caplog):
    queue.add([picture("2.25.1")], "scope", 1, False, 0)
    queue.close()
    for path in queue.folder.glob("queue.sqlite*"):
        path.write_bytes(b"no database at all" * 500)
    again = Queue(queue.folder, 1 << 30, LOG)
    assert [one.uid for one in again.due(False)] == ["2.25.1"] and list(queue.folder.glob("queue.broken-*"))
    assert "put aside" in caplog.text
    again.close()


def test_nonsense_beside_the_pictures_is_named_and_left(queue, caplog):
    (queue.folder / "2.25.9.dcm").write_bytes(b"not DICOM")
    (queue.folder / "2.25.8.part").write_bytes(b"half")
    again = reopened(queue)
    assert again.due(True) == [] and "is no picture" in caplog.text
    assert (queue.folder / "2.25.9.dcm").exists() and not (queue.folder / "2.25.8.part").exists()
    again.close()


def test_the_list_of_what_was_stored_does_not_grow_for_ever(queue, monkeypatch):
    monkeypatch.setattr("appliance.hospital.queue.ROWS_KEPT_MAX", 3)
    for number in range(6):
        [one] = queue.add([picture(f"2.25.{number + 1}")], "scope", number, False, 0)
        queue.stored(one)
    assert [one.uid for one in queue.latest("scope", 9)] == ["2.25.6", "2.25.5", "2.25.4"] and queue.waiting() == (0, 0, 0)


def test_killed_at_any_step_nothing_that_was_acknowledged_is_lost():
    # In memory: it is processes that are killed here, not the machine, and a sync of a disk takes its time.
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        _kill_at_every_step(Path(folder))


def _kill_at_every_step(place):
    steps = 0
    while True:
        steps += 1
        folder = place / str(steps)
        folder.mkdir()
        pid = os.fork()
        if pid == 0:
            _victim_here(folder, steps)
        _, status = os.waitpid(pid, 0)
        acknowledged = (folder / "acknowledged").read_text().split() if (folder / "acknowledged").exists() else []
        archived = (folder / "archive").read_text().split() if (folder / "archive").exists() else []
        queue = Queue(folder / "snapshots", 1 << 30, LOG)
        archived += [one.uid for one in queue.due(True) if dcmread(queue.path(one.uid)).SOPInstanceUID == one.uid]
        assert set(acknowledged) <= set(archived), f"killed at step {steps}"
        for one in queue.due(True):
            queue.stored(one)
        assert {path.name.split(".")[0] for path in queue.folder.iterdir()} == {"queue"}, f"something is left after step {steps}"
        queue.close()
        if not os.WIFSIGNALED(status):
            assert os.waitstatus_to_exitcode(status) == 0
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
    assert steps > 40, "every statement, sync, rename and removal was a step"


def _victim_here(folder, left):
    """In a forked process: adds two presses, delivers all there is, and dies at its n-th step."""
    steps = iter(range(left - 1))

    def step(*_):
        if next(steps, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    def stepping(real):
        return lambda *given, **named: (step(), real(*given, **named))[1]

    try:
        for name in ("fsync", "replace", "unlink"):
            setattr(os, name, stepping(getattr(os, name)))
        connect = sqlite3.connect
        sqlite3.connect = lambda *given, **named: _traced(connect(*given, **named), step)
        queue = Queue(folder / "snapshots", 1 << 30, LOG)
        for number in (1, 2):
            made = [picture(f"2.25.{number}0"), picture(f"2.25.{number}1", SECONDARY_CAPTURE)]
            queue.add(made, "scope", number, False, 0)
            with open(folder / "acknowledged", "a") as file:
                file.write("".join(f"{image.SOPInstanceUID}\n" for image in made))
        for one in queue.due(True):
            with open(folder / "archive", "a") as file:  # as a PACS: it has the picture before we know that it has
                file.write(one.uid + "\n")
            queue.stored(one)
        os._exit(0)
    except BaseException:
        os._exit(99)


def _traced(database, step):
    database.set_trace_callback(step)
    return database
