"""A PACS by DICOMweb: QIDO-RS, WADO-RS rendered, STOW-RS (PS3.18 chapter 10). Called by the stage's event loop.

Invariant: no answer is read beyond its limit or waited for beyond the time limit; no redirect is followed, for it would carry our credentials on.
"""
import asyncio
import io
import json
import secrets
import ssl
from collections.abc import AsyncIterator
from email import policy
from email.parser import BytesParser
from http import HTTPStatus
from pathlib import Path

import aiohttp
from pydicom import dcmread

from appliance.hospital import archive
from appliance.hospital.archive import Instance, Series, Study, clean, is_uid, number, render
from appliance.hospital.problem import NotStored, PeerFailed
from appliance.hospital.tls import client_context
from appliance.hospital_config import WebPeer

JSON_BYTES_MAX = 8 << 20
CHUNK_BYTES = 256 * 1024
UPLOAD_BYTES_A_SECOND_MIN = 1 << 20  # a picture may take so much longer than the time limit
_JSON = {"Accept": "application/dicom+json"}
_DUPLICATE = 0x0111  # Source: PS3.7 annex C.4.2: the PACS has this instance already
# Statuses that say nothing against the picture: the PACS, or our rights to it, must be mended first (408 and 429: later).
_NOT_ABOUT_THE_PICTURE = {401, 403, 404, 405, 407, 408, 411, 421, 425, 429}
_NOT_RENDERED = {400, 404, 406, 415, 500, 501}
_DICOM_PARTS = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_REFERENCED, _FAILED, _FAILURE_REASON, _INSTANCE = "00081199", "00081198", "00081197", "00081155"


class WebArchive:
    """One DICOMweb origin server."""

    def __init__(self, peer: WebPeer) -> None:
        self._peer = peer
        headers = {"User-Agent": "DICOM-RTV-appliance"}
        if peer.token:
            headers["Authorization"] = f"Bearer {peer.token}"
        if peer.username:
            headers["Authorization"] = aiohttp.encode_basic_auth(peer.username, peer.password, "utf-8")
        context: ssl.SSLContext | bool = client_context(peer.tls) if peer.url.startswith("https://") else True
        self._client = aiohttp.ClientSession(
            headers=headers, connector=aiohttp.TCPConnector(ssl=context, limit=8), cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=peer.timeout_s), max_line_size=8190, max_field_size=8190)

    async def close(self) -> None:
        """Ends its connections."""
        await self._client.close()

    async def verify(self) -> None:
        """A query that finds little."""
        await self._query("/studies", {"limit": "1"})

    async def studies(self, patient_id: str) -> list[Study]:
        """QIDO-RS SearchForStudies."""
        # A patient id is matched as it is: * and ? in it would be wildcards (PS3.18 section 8.3.4.1).
        if "*" in patient_id or "?" in patient_id or "\\" in patient_id:
            return []
        found = await self._query("/studies", {"PatientID": patient_id, "limit": str(archive.STUDIES_MAX), "includefield": "StudyDescription"})
        studies = [Study(_text(item, "0020000D"), _text(item, "00080020"), _text(item, "00080030"), _text(item, "00081030"), _texts(item, "00080061"),
                         _text(item, "00080050"), number(_text(item, "00201208")), _text(item, "00100020"), _text(item, "00100021")) for item in found]
        return archive.of_patient(studies, patient_id)

    async def series(self, study: str) -> list[Series]:
        """QIDO-RS SearchForSeries."""
        found = await self._query(f"/studies/{study}/series", {"limit": str(archive.SERIES_MAX), "includefield": "SeriesDescription"})
        series = [Series(_text(item, "0020000E"), number(_text(item, "00200011")), _text(item, "00080060"), _text(item, "0008103E")) for item in found]
        return sorted((one for one in series if is_uid(one.uid)), key=lambda one: one.number)[:archive.SERIES_MAX]

    async def instances(self, study: str, series: str) -> list[Instance]:
        """QIDO-RS SearchForInstances."""
        found = await self._query(f"/studies/{study}/series/{series}/instances", {"limit": str(archive.INSTANCES_MAX), "includefield": "NumberOfFrames"})
        instances = [Instance(_text(item, "00080018"), _text(item, "00080016"), number(_text(item, "00200013")),
                              max(1, number(_text(item, "00280008"), archive.FRAMES_MAX))) for item in found]
        return sorted((one for one in instances if is_uid(one.uid)), key=lambda one: one.number)[:archive.INSTANCES_MAX]

    async def picture(self, study: str, series: str, instance: Instance, frame: int, side: int) -> bytes:
        """WADO-RS RetrieveRenderedFrame; what the PACS cannot render is retrieved whole (RetrieveInstance) and rendered here."""
        place = f"/studies/{study}/series/{series}/instances/{instance.uid}"
        async with self._request("GET", f"{place}/frames/{frame}/rendered", headers={"Accept": "image/jpeg"}) as response:
            if response.status == HTTPStatus.OK:
                body = await _read(response, archive.PICTURE_BYTES_MAX)
                return await asyncio.to_thread(archive.jpeg, body, side)
            if response.status not in _NOT_RENDERED:
                raise _refusal(response.status)
        async with self._request("GET", place, headers={"Accept": _DICOM_PARTS}) as response:
            if response.status != HTTPStatus.OK:
                raise _refusal(response.status)
            content_type, body = response.headers.get("Content-Type", ""), await _read(response, archive.PICTURE_BYTES_MAX)
        return await asyncio.to_thread(_rendered_here, content_type, body, frame, side)

    async def store(self, path: Path, uid: str) -> None:
        """STOW-RS Store Instances: confirmed by the answer's Referenced SOP Sequence."""
        boundary = f"appliance-{secrets.token_hex(12)}"
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        octets = path.stat().st_size
        headers = {**_JSON, "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
                   "Content-Length": str(len(head) + octets + len(tail))}
        timeout = aiohttp.ClientTimeout(total=self._peer.timeout_s + octets / UPLOAD_BYTES_A_SECOND_MIN)
        async with self._request("POST", "/studies", data=_parts(head, path, tail), headers=headers, timeout=timeout) as response:
            status, body = response.status, await _read(response, JSON_BYTES_MAX)
        _judge(status, body, uid)

    async def _query(self, path: str, parameters: dict[str, str]) -> list[dict]:
        body = await self._get(path, parameters, _JSON, JSON_BYTES_MAX)
        try:
            found = json.loads(body) if body else []
        except (ValueError, RecursionError) as error:
            raise PeerFailed("malformed", "The PACS answered a search with something that is not JSON.") from error
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise PeerFailed("malformed", "The PACS answered a search with JSON that is not a list of results.")
        return found

    async def _get(self, path: str, parameters: dict[str, str], headers: dict[str, str], bytes_max: int) -> bytes:
        async with self._request("GET", path, params=parameters, headers=headers) as response:
            if response.status == HTTPStatus.NO_CONTENT:
                return b""
            if response.status != HTTPStatus.OK:
                raise _refusal(response.status)
            return await _read(response, bytes_max)

    def _request(self, method: str, path: str, **options) -> "_Request":
        return _Request(self._client.request(method, self._peer.url + path, allow_redirects=False, **options), self._peer)


class _Request:
    """A request whose failures are PeerFailed."""

    def __init__(self, context, peer: WebPeer) -> None:
        self._context, self._peer = context, peer

    async def __aenter__(self) -> aiohttp.ClientResponse:
        try:
            return await self._context.__aenter__()
        except Exception as error:
            raise self._failure(error) from error

    async def __aexit__(self, kind, error, trace) -> None:
        await self._context.__aexit__(kind, error, trace)
        if isinstance(error, aiohttp.ClientError | TimeoutError | OSError):
            raise self._failure(error) from error

    def _failure(self, error: BaseException) -> PeerFailed:
        if isinstance(error, TimeoutError):
            return PeerFailed("timeout", f"The PACS did not answer within {self._peer.timeout_s} s.")
        if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
            return PeerFailed("unreachable", "The PACS shows a certificate that is not trusted; see [pacs] ca_certificate.")
        if isinstance(error, aiohttp.ClientConnectionError | OSError):
            return PeerFailed("unreachable", "The PACS does not answer.")
        return PeerFailed("malformed", "The PACS answered something that is not HTTP.")


async def _read(response: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    parts, octets = [], 0
    async for part in response.content.iter_chunked(CHUNK_BYTES):
        octets += len(part)
        if octets > bytes_max:
            response.close()
            raise PeerFailed("malformed", f"The PACS sent more than {bytes_max >> 20} MB, which is not read further.")
        parts.append(part)
    return b"".join(parts)


def _rendered_here(content_type: str, body: bytes, frame: int, side: int) -> bytes:
    """A frame of the first part of a multipart body. PeerFailed if there is none that can be shown."""
    message = BytesParser(policy=policy.HTTP).parsebytes(b"Content-Type: " + content_type.encode("latin-1", "replace") + b"\r\n\r\n" + body)
    part = next(iter(message.iter_parts()), None) if message.is_multipart() else None
    try:
        dataset = dcmread(io.BytesIO(part.get_payload(decode=True) if part else b""))
    except Exception as error:  # whatever pydicom makes of a stranger's octets
        raise PeerFailed("malformed", "The PACS sent something that is no picture.") from error
    return render(dataset, frame, side)


async def _parts(head: bytes, path: Path, tail: bytes) -> AsyncIterator[bytes]:
    yield head
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
    yield tail


def _refusal(status: int) -> PeerFailed:
    if status in (401, 403):
        return PeerFailed("refused", f"The PACS refuses the appliance ({status}): user name, password or token in [pacs] are wrong, or have too few rights.")
    if 300 <= status < 400:
        return PeerFailed("refused", f"The PACS answers from another address ({status}): enter that one as [pacs] dicomweb.")
    if status == 404:
        return PeerFailed("refused", "The PACS has nothing at this address (404): is [pacs] dicomweb the base URL of its DICOMweb services?")
    return PeerFailed("refused", f"The PACS refuses the request ({status}).")


def _judge(status: int, body: bytes, uid: str) -> None:
    """Returns if the answer confirms the instance (PS3.18 section 10.5.3.1); raises what it means otherwise."""
    try:
        answer = json.loads(body) if body else {}
        answer = answer[0] if isinstance(answer, list) and answer else answer
        referenced, failed = _items(answer, _REFERENCED), _items(answer, _FAILED)
    except (ValueError, RecursionError, AttributeError):
        referenced = failed = []
        answer = {}
    reasons = [number(_text(item, _FAILURE_REASON)) for item in failed if _text(item, _INSTANCE) == uid]
    if any(_text(item, _INSTANCE) == uid for item in referenced) and status < 300 or _DUPLICATE in reasons:
        return
    if reasons:
        raise NotStored(f"The PACS will not keep the picture: failure reason {reasons[0]:04X}H.")
    if status < 300:
        raise PeerFailed("malformed", "The PACS took the picture and did not say that it keeps it.")
    if status >= 500 or status in _NOT_ABOUT_THE_PICTURE or status < 400:
        raise _refusal(status)
    raise NotStored(f"The PACS will not keep the picture ({status}).")


def _items(dataset: object, tag: str) -> list[dict]:
    element = dataset.get(tag) if isinstance(dataset, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return [item for item in values if isinstance(item, dict)] if isinstance(values, list) else []


def _values(item: dict, tag: str) -> list:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _text(item: dict, tag: str) -> str:
    """The first value of an element in the DICOM JSON model (PS3.18 annex F)."""
    value = next(iter(_values(item, tag)), "")
    return clean(value) if isinstance(value, str | int | float) else ""


def _texts(item: dict, tag: str) -> str:
    return ", ".join(clean(value) for value in _values(item, tag)[:16] if isinstance(value, str))
