"""The hospital's systems by DIMSE (PS3.7): verification, queries, C-GET and C-STORE through pynetdicom. Blocking; the stage calls it in threads.

Invariant: one association an operation, and none outlives its deadline: whatever the peer does, it is aborted then. Query keys never hold
wildcards that came from outside.
"""
import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (ModalityWorklistInformationFind, StudyRootQueryRetrieveInformationModelFind,
                                  StudyRootQueryRetrieveInformationModelGet, Verification)

from appliance.hospital import archive
from appliance.hospital.archive import Instance, Series, Study, clean, is_uid, number
from appliance.hospital.problem import NotStored, PeerFailed
from appliance.hospital.tls import client_context
from appliance.hospital_config import DimsePeer

PDU_BYTES_MAX = 128 * 1024
RESULTS_MAX = 1000
_SUCCESS, _PENDING, _DUPLICATE = 0x0000, (0xFF00, 0xFF01), 0x0111
_NETWORKS = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_PICTURES = (*_NETWORKS, JPEGBaseline8Bit, RLELossless, JPEG2000Lossless, JPEG2000)
_UPLOAD_BYTES_A_SECOND_MIN = 1 << 20

# Each failure is told once, by us, with what it means; pynetdicom tells each of its steps.
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)


class Dimse:
    """One peer. `name` is what messages call it: "The PACS", "The worklist"."""

    def __init__(self, peer: DimsePeer, name: str, table: str) -> None:
        self._peer, self._name, self._table = peer, name, table
        self._tls = client_context(peer.tls) if peer.tls else None

    def echo(self) -> None:
        """C-ECHO. PeerFailed if it does not answer, or refuses us."""
        with self._associated([build_context(Verification)]) as association:
            self._check(association.send_c_echo())

    def find(self, query: Dataset, model: str, results_max: int = RESULTS_MAX) -> list[Dataset]:
        """C-FIND: the identifiers found, at most so many."""
        with self._associated([build_context(model, list(_NETWORKS))]) as association:
            found: list[Dataset] = []
            for status, identifier in association.send_c_find(query, model):
                if self._check(status, _PENDING) and identifier is not None:
                    found.append(identifier)
                    if len(found) >= results_max:
                        association.abort()
                        break
            return found

    def get(self, query: Dataset, class_uid: str, octets_max: int) -> Dataset:
        """C-GET of one instance."""
        received: list[Dataset] = []

        def keep(event: evt.Event) -> int:
            if len(event.request.DataSet.getbuffer()) > octets_max:
                return 0xA700  # out of resources
            dataset = event.dataset
            dataset.file_meta = event.file_meta
            received.append(dataset)
            return _SUCCESS

        contexts = [build_context(StudyRootQueryRetrieveInformationModelGet), *(build_context(class_uid, syntax) for syntax in _PICTURES)]
        with self._associated(contexts, [(evt.EVT_C_STORE, keep)], [build_role(class_uid, scp_role=True)]) as association:
            for status, _ in association.send_c_get(query, StudyRootQueryRetrieveInformationModelGet):
                self._check(status, _PENDING)
        if not received:
            raise PeerFailed("refused", f"{self._name} did not send the picture.")
        return received[0]

    def store(self, path: Path, class_uid: str) -> None:
        """C-STORE; returns on Success, or a warning that says that it keeps the picture. NotStored if it will not."""
        extra_s = path.stat().st_size / _UPLOAD_BYTES_A_SECOND_MIN
        with self._associated([build_context(class_uid, ExplicitVRLittleEndian)], extra_s=extra_s) as association:
            status = association.send_c_store(path)
            code = self._code(status)
            # Source: PS3.4 table B.2-1: B000, B006, B007 are warnings of an instance that was stored.
            if code in (_SUCCESS, _DUPLICATE, 0xB000, 0xB006, 0xB007):
                return
            if code >> 8 in (0xA7, 0x01):  # out of resources; processing failures
                raise PeerFailed("refused", f"{self._name} cannot store now (status {code:04X}H{_remark(status)}).")
            raise NotStored(f"{self._name} will not keep the picture (status {code:04X}H{_remark(status)}).")

    @contextmanager
    def _associated(self, contexts: list, handlers: list | None = None, roles: list | None = None, extra_s: float = 0.0) -> Iterator[Association]:
        peer, connected, late = self._peer, threading.Event(), threading.Event()
        entity = AE(peer.calling_ae_title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = peer.timeout_s
        entity.maximum_pdu_size = PDU_BYTES_MAX
        listening = [(evt.EVT_CONN_OPEN, lambda _: connected.set()), *(handlers or [])]
        association = entity.associate(peer.host, peer.port, contexts, peer.ae_title, PDU_BYTES_MAX, ext_neg=roles or None, evt_handlers=listening,
                                       tls_args=(self._tls, peer.host) if self._tls else None)
        deadline = threading.Timer(peer.timeout_s + extra_s, _abort, (association, late))
        deadline.daemon = True
        deadline.start()
        try:
            self._check_established(association, connected.is_set())
            yield association
        except PeerFailed as error:
            if late.is_set():
                raise PeerFailed("timeout", f"{self._name} did not answer within {peer.timeout_s + extra_s:.0f} s.") from error
            raise
        finally:
            deadline.cancel()
            if association.is_established:
                association.release()

    def _check_established(self, association: Association, connected: bool) -> None:
        peer = self._peer
        if association.is_established:
            return
        if association.rejected_contexts:  # it took the association and none of what it is for: pynetdicom has aborted it
            raise PeerFailed("refused", f"{self._name} does not offer this service to AE title {peer.calling_ae_title}.")
        if association.is_rejected:
            raise PeerFailed("refused", f"{self._name} refuses the appliance: is AE title {peer.calling_ae_title} with this machine's address entered there, "
                                        f"and is [{self._table}] ae_title = \"{peer.ae_title}\" its own?")
        if not connected:
            raise PeerFailed("unreachable", f"{self._name} does not answer at {peer.host}:{peer.port}" + (" by TLS." if self._tls else "."))
        raise PeerFailed("timeout" if association.is_aborted else "refused", f"{self._name} took the connection and gave no DICOM answer"
                         + ("." if self._tls else f"; does it want TLS ([{self._table}] tls = true)?"))

    def _code(self, status: Dataset) -> int:
        if "Status" not in status:
            raise PeerFailed("malformed", f"{self._name} broke off without an answer.")
        return int(status.Status)

    def _check(self, status: Dataset, pending: tuple[int, ...] = ()) -> bool:
        """True for a pending status, False for success; PeerFailed for every other."""
        code = self._code(status)
        if code in pending:
            return True
        if code != _SUCCESS:
            raise PeerFailed("refused", f"{self._name} could not answer (status {code:04X}H{_remark(status)}).")
        return False


class DimseArchive:
    """A PACS that has no web."""

    def __init__(self, peer: DimsePeer) -> None:
        self._dimse = Dimse(peer, "The PACS", "pacs")

    async def close(self) -> None:
        """Every association has ended with its operation."""

    async def verify(self) -> None:
        """C-ECHO."""
        await asyncio.to_thread(self._dimse.echo)

    async def studies(self, patient_id: str) -> list[Study]:
        """C-FIND at the STUDY level."""
        if not is_literal(patient_id):
            return []
        found = await self._find("STUDY", PatientID=patient_id, StudyInstanceUID="", StudyDate="", StudyTime="", StudyDescription="", AccessionNumber="",
                                 ModalitiesInStudy="", NumberOfStudyRelatedInstances="", IssuerOfPatientID="")
        studies = [Study(_value(item, "StudyInstanceUID"), _value(item, "StudyDate"), _value(item, "StudyTime"), _value(item, "StudyDescription"),
                         _value(item, "ModalitiesInStudy"), _value(item, "AccessionNumber"), number(_value(item, "NumberOfStudyRelatedInstances")),
                         _value(item, "PatientID"), _value(item, "IssuerOfPatientID")) for item in found]
        return archive.of_patient(studies, patient_id)

    async def series(self, study: str) -> list[Series]:
        """C-FIND at the SERIES level."""
        found = await self._find("SERIES", StudyInstanceUID=study, SeriesInstanceUID="", SeriesNumber="", Modality="", SeriesDescription="")
        series = [Series(_value(item, "SeriesInstanceUID"), number(_value(item, "SeriesNumber")), _value(item, "Modality"), _value(item, "SeriesDescription"))
                  for item in found]
        return sorted((one for one in series if is_uid(one.uid)), key=lambda one: one.number)[:archive.SERIES_MAX]

    async def instances(self, study: str, series: str) -> list[Instance]:
        """C-FIND at the IMAGE level."""
        found = await self._find("IMAGE", StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID="", SOPClassUID="", InstanceNumber="", NumberOfFrames="")
        instances = [Instance(_value(item, "SOPInstanceUID"), _value(item, "SOPClassUID"), number(_value(item, "InstanceNumber")),
                              max(1, number(_value(item, "NumberOfFrames"), archive.FRAMES_MAX))) for item in found]
        return sorted((one for one in instances if is_uid(one.uid) and is_uid(one.class_uid)), key=lambda one: one.number)[:archive.INSTANCES_MAX]

    async def picture(self, study: str, series: str, instance: Instance, frame: int, side: int) -> bytes:
        """C-GET of the instance, and the frame decoded here."""
        query = Dataset()
        query.QueryRetrieveLevel, query.StudyInstanceUID, query.SeriesInstanceUID, query.SOPInstanceUID = "IMAGE", study, series, instance.uid
        dataset = await asyncio.to_thread(self._dimse.get, query, instance.class_uid, archive.PICTURE_BYTES_MAX)
        return await asyncio.to_thread(archive.render, dataset, frame, side)

    async def store(self, path: Path, uid: str) -> None:
        """C-STORE."""
        class_uid = str(dcmread(path, stop_before_pixels=True).SOPClassUID)
        await asyncio.to_thread(self._dimse.store, path, class_uid)

    async def _find(self, level: str, **keys: str) -> list[Dataset]:
        query = Dataset()
        query.QueryRetrieveLevel = level
        for keyword, value in keys.items():
            setattr(query, keyword, value)
        return await asyncio.to_thread(self._dimse.find, query, StudyRootQueryRetrieveInformationModelFind)


class Worklist:
    """The Modality Worklist (PS3.4 annex K)."""

    def __init__(self, peer: DimsePeer) -> None:
        self._dimse = Dimse(peer, "The worklist", "worklist")

    def echo(self) -> None:
        """C-ECHO."""
        self._dimse.echo()

    def find(self, query: Dataset, results_max: int) -> list[Dataset]:
        """C-FIND."""
        return self._dimse.find(query, ModalityWorklistInformationFind, results_max)


def is_literal(text: str) -> bool:
    """Whether it matches itself alone as a key (PS3.4 section C.2.2.2): no wildcards, no second value."""
    return bool(text) and len(text) <= 64 and text.isprintable() and not any(letter in text for letter in "*?\\")


def _abort(association: Association, late: threading.Event) -> None:
    late.set()
    association.abort()


def _remark(status: Dataset) -> str:
    text = clean(status.get("ErrorComment", ""))
    return f", \"{text}\"" if text else ""


def _value(dataset: Dataset, keyword: str) -> str:
    try:
        value = dataset.get(keyword)
    except Exception:  # a value that cannot be read is none
        return ""
    return ", ".join(clean(one) for one in value[:16]) if isinstance(value, list | tuple) or type(value).__name__ == "MultiValue" else clean(value)
