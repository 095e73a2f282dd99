"""Pictures on their way into the PACS: files and a SQLite table in state_dir/snapshots. Nothing leaves it before the PACS has confirmed.

Called by the stage from one thread at a time. Invariant: once add() has returned, the picture is on the disk, and stays there until stored()
of it: whatever is killed in between. ORDER: file, then row; row, then file gone; so a file without a row is a press that is still to be counted.
"""
import logging
import os
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from appliance.hospital.problem import SnapshotRefused

HELD, WAITING, STORED, REJECTED = "held", "waiting", "stored", "rejected"
ROWS_KEPT_MAX = 1000          # of pictures that are stored; the PACS has them
DISK_RESERVE_BYTES = 256 << 20
_LAYOUT = """
CREATE TABLE IF NOT EXISTS picture (
    uid TEXT PRIMARY KEY, press TEXT NOT NULL, stream TEXT NOT NULL, class_uid TEXT NOT NULL, taken_ms INTEGER NOT NULL, bookmark INTEGER NOT NULL,
    offset_ms INTEGER NOT NULL, octets INTEGER NOT NULL, state TEXT NOT NULL, held_until_s REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    problem TEXT NOT NULL DEFAULT '') STRICT;
CREATE INDEX IF NOT EXISTS picture_state ON picture (state, taken_ms);
CREATE INDEX IF NOT EXISTS picture_stream ON picture (stream, taken_ms);
"""


@dataclass(frozen=True)
class Picture:
    """A row: one instance. `press` is shared by the instances that one press made; times are UTC since 1970."""

    uid: str
    press: str
    stream: str
    class_uid: str
    taken_ms: int
    bookmark: bool
    offset_ms: int
    octets: int
    state: str
    held_until_s: float
    attempts: int = 0
    problem: str = ""


class Queue:
    """The queue of one folder. Raises SnapshotRefused when there is no room, sqlite3.Error or OSError when the disk fails."""

    def __init__(self, folder: Path, bytes_max: int, log: logging.Logger) -> None:
        self.folder, self._bytes_max, self._log = folder, bytes_max, log
        self._lock = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chmod(folder, 0o700)
        self._database = self._open()
        with self._lock:
            self._recover()

    def close(self) -> None:
        """Lets go of the database."""
        with self._lock:
            self._database.close()

    def path(self, uid: str) -> Path:
        """Where a picture's file lies."""
        return self.folder / f"{uid}.dcm"

    def add(self, images: list[Dataset], stream: str, taken_ms: int, bookmark: bool, offset_ms: int, held_until_s: float = 0.0) -> list[Picture]:
        """Puts the instances of one press on the disk, and remembers them; all or none."""
        with self._lock:
            self._make_room(sum(len(image.PixelData) for image in images))
            press, pictures = str(images[0].SOPInstanceUID), []
            for image in images:
                self._write(image)
                pictures.append(Picture(str(image.SOPInstanceUID), press, stream, str(image.SOPClassUID), taken_ms, bookmark, offset_ms,
                                        self.path(image.SOPInstanceUID).stat().st_size, HELD if held_until_s else WAITING, held_until_s))
            with self._database:
                self._database.executemany(f"INSERT INTO picture VALUES ({', '.join('?' * 12)})", [_values(picture) for picture in pictures])
        return pictures

    def note(self, stream: str, press: str, write_note) -> bool:
        """Rewrites the images of a stream's press that are held, by write_note(dataset), and lets them go; False if none is held any more."""
        with self._lock:
            held = self._rows("stream = ? AND press = ? AND state = ?", stream, press, HELD)
            for picture in held:
                image = dcmread(self.path(picture.uid))
                write_note(image)
                self._write(image)
            with self._database:
                self._database.execute("UPDATE picture SET state = ? WHERE stream = ? AND press = ? AND state = ?", (WAITING, stream, press, HELD))
        return bool(held)

    def due(self, rejected_too: bool) -> list[Picture]:
        """Pictures that the PACS should get now, the oldest first."""
        states = (WAITING, REJECTED) if rejected_too else (WAITING,)
        with self._lock, self._database:
            self._database.execute("UPDATE picture SET state = ? WHERE state = ? AND held_until_s <= ?", (WAITING, HELD, time.time()))
            return self._rows(f"state IN ({', '.join('?' * len(states))}) ORDER BY taken_ms, class_uid DESC", *states)

    def stored(self, picture: Picture) -> None:
        """The PACS has confirmed: the file goes, the row stays for the list of what was done."""
        with self._lock:
            with self._database:
                self._database.execute("UPDATE picture SET state = ?, problem = '' WHERE uid = ?", (STORED, picture.uid))
                self._database.execute("DELETE FROM picture WHERE state = ? AND uid NOT IN (SELECT uid FROM picture WHERE state = ?"
                                       " ORDER BY taken_ms DESC LIMIT ?)", (STORED, STORED, ROWS_KEPT_MAX))
            self.path(picture.uid).unlink(missing_ok=True)

    def failed(self, picture: Picture, problem: str, rejected: bool) -> None:
        """It is still here; `problem` says why."""
        with self._lock, self._database:
            self._database.execute("UPDATE picture SET state = ?, attempts = attempts + 1, problem = ? WHERE uid = ?",
                                   (REJECTED if rejected else WAITING, problem[:500], picture.uid))

    def latest(self, stream: str, count: int) -> list[Picture]:
        """A stream's newest pictures, the newest first."""
        with self._lock:
            return self._rows("stream = ? ORDER BY taken_ms DESC, class_uid DESC LIMIT ?", stream, count)

    def count(self, stream: str) -> int:
        """How many presses the queue remembers of a stream."""
        with self._lock:
            return self._database.execute("SELECT count(DISTINCT press) FROM picture WHERE stream = ?", (stream,)).fetchone()[0]

    def waiting(self) -> tuple[int, int, int]:
        """(pictures that are not stored yet, their octets, when the oldest was taken in ms since 1970 or 0)."""
        with self._lock:
            return tuple(self._database.execute("SELECT count(*), coalesce(sum(octets), 0), coalesce(min(taken_ms), 0) FROM picture WHERE state != ?",
                                                (STORED,)).fetchone())

    def _rows(self, condition: str, *values) -> list[Picture]:
        return [Picture(*row[:5], bool(row[5]), *row[6:]) for row in self._database.execute(f"SELECT * FROM picture WHERE {condition}", values)]

    def _make_room(self, octets: int) -> None:
        waiting = self._database.execute("SELECT coalesce(sum(octets), 0) FROM picture WHERE state != ?", (STORED,)).fetchone()[0]
        if waiting + octets > self._bytes_max:
            raise SnapshotRefused("queue_full", f"{waiting >> 20} MB of pictures wait for the PACS, and there is no room for more; it must answer first.")
        space = os.statvfs(self.folder)
        if space.f_bavail * space.f_frsize - octets < DISK_RESERVE_BYTES:
            raise SnapshotRefused("disk", "The appliance's disk is full; nothing can be stored until somebody makes room on it.")

    def _write(self, image: Dataset) -> None:
        """A whole file under its name, or none: never a part of one."""
        path = self.path(image.SOPInstanceUID)
        part = path.with_suffix(".part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            dcmwrite(file, image, enforce_file_format=True)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        self._sync_folder()

    def _sync_folder(self) -> None:
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _open(self) -> sqlite3.Connection:
        path = self.folder / "queue.sqlite"
        try:
            return _connect(path)
        except sqlite3.DatabaseError as error:
            aside = path.with_name(f"queue.broken-{time.time_ns()}.sqlite")
            self._log.error("%s cannot be read (%s): it is put aside as %s; the pictures beside it are all there is to know", path, error, aside.name)
            os.replace(path, aside)
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            return _connect(path)

    def _recover(self) -> None:
        """After whatever ended the process before: parts go, stored files go, files without a row are adopted, rows without a file are named."""
        for part in self.folder.glob("*.part"):
            part.unlink(missing_ok=True)
        known = {picture.uid: picture for picture in self._rows("1")}
        for path in self.folder.glob("*.dcm"):
            picture = known.get(path.stem)
            if picture is None:
                self._adopt(path)
            elif picture.state == STORED:
                path.unlink(missing_ok=True)
        for picture in known.values():
            if picture.state != STORED and not self.path(picture.uid).exists():
                self._log.error("picture %s is in the queue and its file is gone", picture.uid)
                with self._database:
                    self._database.execute("DELETE FROM picture WHERE uid = ?", (picture.uid,))

    def _adopt(self, path: Path) -> None:
        """A press whose row was not written any more: the person did not hear of it, and the PACS gets it all the same."""
        try:
            header = dcmread(path, stop_before_pixels=True)
            picture = Picture(str(header.SOPInstanceUID), str(header.SOPInstanceUID), "", str(header.SOPClassUID), int(path.stat().st_mtime * 1000),
                              False, 0, path.stat().st_size, WAITING, 0.0)
        except (InvalidDicomError, AttributeError, OSError, ValueError) as error:
            self._log.error("%s is no picture (%s); it is left where it lies", path, error)
            return
        with self._database:
            self._database.execute(f"INSERT INTO picture VALUES ({', '.join('?' * 12)})", _values(picture))


def _connect(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))  # its journals get the same mode
    database = sqlite3.connect(path, check_same_thread=False, isolation_level="DEFERRED", timeout=5)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        if database.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("its pages contradict each other")
        database.executescript(_LAYOUT)
    except BaseException:
        database.close()
        raise
    return database


def _values(picture: Picture) -> tuple:
    return (picture.uid, picture.press, picture.stream, picture.class_uid, picture.taken_ms, int(picture.bookmark), picture.offset_ms, picture.octets,
            picture.state, picture.held_until_s, picture.attempts, picture.problem)
