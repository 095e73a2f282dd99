"""A PACS that is hostile, broken or slow, by DICOMweb: every answer is bounded, named, and harmless."""
import asyncio
import io
import json
from dataclasses import replace

import pytest
from aiohttp import web
from PIL import Image

from appliance.hospital import archive, dicomweb
from appliance.hospital.archive import Instance
from appliance.hospital.dicomweb import WebArchive
from appliance.hospital.problem import NotStored, PeerFailed
from appliance.hospital_config import WebPeer

STUDY = {"0020000D": {"vr": "UI", "Value": ["1.2.3"]}, "00100020": {"vr": "LO", "Value": ["P-1"]}, "00081030": {"vr": "LO", "Value": ["Colon"]},
         "00080020": {"vr": "DA", "Value": ["20200102"]}, "00080061": {"vr": "CS", "Value": ["CT", "ES"]}}


def with_server(handler, scenario, **peer):
    """Runs scenario(archive) against a server on loopback that answers everything by handler(request)."""
    async def main():
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]
        opened = WebArchive(replace(WebPeer(f"http://127.0.0.1:{port}/web", timeout_s=1), **peer))
        try:
            return await scenario(opened)
        finally:
            await opened.close()
            await runner.cleanup()
    return asyncio.run(main())


def answering(body, status=200, content_type="application/dicom+json"):
    async def handler(_):
        return web.Response(body=body if isinstance(body, bytes) else json.dumps(body).encode(), status=status, content_type=content_type)
    return handler


def picture_of(width, height, kind="JPEG"):
    output = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(output, kind)
    return output.getvalue()


def failure(handler, scenario, **peer):
    with pytest.raises(PeerFailed) as failed:
        with_server(handler, scenario, **peer)
    return failed.value


def test_only_the_patients_own_studies_are_listed():
    alike = [STUDY, STUDY | {"00100020": {"vr": "LO", "Value": ["P-11"]}}, STUDY | {"0020000D": {"vr": "UI", "Value": ["../../x"]}}, {}]
    [study] = with_server(answering(alike), lambda opened: opened.studies("P-1"))
    assert (study.uid, study.description, study.modalities, study.date) == ("1.2.3", "Colon", "CT, ES", "20200102")
    for wild in ("P*", "P-?", "a\\b"):
        assert with_server(answering(alike), lambda opened, wild=wild: opened.studies(wild)) == []


def test_what_a_pacs_says_is_shown_as_words_and_never_long():
    said = STUDY | {"00081030": {"vr": "LO", "Value": ["<script>alert(1)</script>\x00\x1b[2J\u202e" + "x" * 5000]}, "00080020": {"vr": "DA", "Value": [{"a": 1}]}}
    [study] = with_server(answering([said]), lambda opened: opened.studies("P-1"))
    assert study.description.startswith("<script>") and study.description.isprintable() and len(study.description) <= archive.TEXT_CHARACTERS_MAX and study.date == ""


@pytest.mark.parametrize("body", [b"<html>", b"[" * 200_000, b'{"a": 1}', b"[1, 2]", b"\xff\xfe", b'[{"0020000D": 5}'])
def test_nonsense_for_a_search_is_named(body):
    assert failure(answering(body), lambda opened: opened.studies("P-1")).result == "malformed"


@pytest.mark.parametrize("item", [{"0020000D": 5}, {"0020000D": {"Value": 5}}, {"0020000D": {"Value": []}}, {"0020000D": {"Value": [None]}}, {"00100020": {"Value": [["P-1"]]}}])
def test_results_of_the_wrong_form_are_left_out(item):
    assert with_server(answering([item]), lambda opened: opened.studies("P-1")) == []


def test_an_endless_answer_is_read_to_its_limit_only(monkeypatch):
    monkeypatch.setattr(dicomweb, "JSON_BYTES_MAX", 1 << 20)

    async def endless(request):
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"[" * 65_536)

    assert "not read further" in str(failure(endless, lambda opened: opened.studies("P-1"), timeout_s=10))


def test_a_slow_answer_is_waited_for_until_its_time_is_over():
    async def slow(request):
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.05)

    failed = failure(slow, lambda opened: opened.studies("P-1"))
    assert (failed.result, str(failed)) == ("timeout", "The PACS did not answer within 1 s.")


def test_nobody_at_the_address_is_named():
    async def scenario(_):
        opened = WebArchive(WebPeer("http://127.0.0.1:9/web", timeout_s=1))
        try:
            await opened.verify()
        finally:
            await opened.close()
    assert failure(answering([]), scenario).result == "unreachable"


@pytest.mark.parametrize(("status", "word"), [(401, "user name, password or token"), (403, "too few rights"), (302, "another address"), (404, "base URL"), (500, "refuses")])
def test_a_refusal_says_what_to_do(status, word):
    failed = failure(answering(b"x", status), lambda opened: opened.verify())
    assert failed.result == "refused" and word in str(failed)


def test_credentials_go_to_the_pacs_alone():
    seen = []

    async def elsewhere(request):
        seen.append((request.path, request.headers.get("Authorization", "")))
        raise web.HTTPFound("/other") if request.path.startswith("/web") else web.HTTPOk

    failure(elsewhere, lambda opened: opened.verify(), username="u", password="p")
    assert [path for path, _ in seen] == ["/web/studies"] and seen[0][1].startswith("Basic ")


def test_a_picture_is_decoded_here_and_coded_anew():
    coded = with_server(answering(picture_of(3000, 1000, "PNG"), content_type="image/jpeg"),
                        lambda opened: opened.picture("1.2", "1.3", Instance("1.4"), 1, archive.PICTURE_SIDE))
    with Image.open(io.BytesIO(coded)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (2048, 683))


@pytest.mark.parametrize("body", [b"<svg onload=alert(1)>", b"\xff\xd8\xff\xe0 cut short", b"", picture_of(7000, 7000, "PNG")])
def test_what_is_no_picture_reaches_nobody(body):
    failed = failure(answering(body, content_type="image/jpeg"), lambda opened: opened.picture("1.2", "1.3", Instance("1.4"), 1, archive.THUMBNAIL_SIDE), timeout_s=20)
    assert failed.result == "malformed"


def test_an_object_that_is_no_picture_is_named():
    async def unrendered(request):
        if request.path.endswith("rendered"):
            return web.Response(status=406)
        return web.Response(body=b"--b\r\nContent-Type: application/dicom\r\n\r\nDICM?\r\n--b--\r\n", headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'})
    assert failure(unrendered, lambda opened: opened.picture("1.2", "1.3", Instance("1.4"), 1, archive.PICTURE_SIDE)).result == "malformed"


def stored(body, status, tmp_path):
    path = tmp_path / "x.dcm"
    path.write_bytes(b"octets" * 100_000)
    received = []

    async def handler(request):
        received.append((request.headers["Content-Type"], await request.read()))
        return web.Response(body=json.dumps(body).encode() if not isinstance(body, bytes) else body, status=status)

    try:
        with_server(handler, lambda opened: opened.store(path, "2.25.7"))
    finally:
        [(content_type, sent)] = received
        assert content_type.startswith('multipart/related; type="application/dicom"') and path.read_bytes() in sent
    return True


def sequence(tag, **values):
    return {tag: {"vr": "SQ", "Value": [{name: {"Value": [value]} for name, value in values.items()}]}}


REFERENCED, FAILED = "00081199", "00081198"


def test_a_picture_is_stored_only_by_the_pacs_own_word(tmp_path):
    assert stored(sequence(REFERENCED, **{"00081155": "2.25.7"}), 200, tmp_path)
    assert stored(sequence(FAILED, **{"00081155": "2.25.7", "00081197": 0x0111}), 409, tmp_path), "it has it already"


@pytest.mark.parametrize(("body", "status", "kind"), [
    ({}, 200, PeerFailed), (b"OK", 200, PeerFailed), (sequence(REFERENCED, **{"00081155": "2.25.8"}), 200, PeerFailed), (b"", 503, PeerFailed), (b"", 401, PeerFailed),
    (sequence(FAILED, **{"00081155": "2.25.7", "00081197": 0xA900}), 409, NotStored), (b"", 400, NotStored), (b"[" * 100_000, 200, PeerFailed)])
def test_anything_else_is_no_confirmation(tmp_path, body, status, kind):
    with pytest.raises(kind):
        stored(body, status, tmp_path)
