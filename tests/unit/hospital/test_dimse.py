"""Peers that are hostile, broken or slow, by DIMSE: named in time, whatever they do with the connection."""
import io
import socket
import ssl
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import ModalityWorklistInformationFind, Verification

from appliance.errors import ConfigurationError
from appliance.hospital import archive
from appliance.hospital.cases import _query
from appliance.hospital.dimse import Dimse, Worklist, is_literal
from appliance.hospital.problem import PeerFailed
from appliance.hospital_config import DimsePeer, TlsConfig


@contextmanager
def listening(serve):
    """A TCP server whose connections are given to serve(connection)."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def accept():
            try:
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=lambda: _served(serve, connection), daemon=True).start()
            except OSError:
                return
        threading.Thread(target=accept, daemon=True).start()
        yield DimsePeer("127.0.0.1", listener.getsockname()[1], "PEER", timeout_s=1)
        listener.shutdown(socket.SHUT_RDWR)


def _served(serve, connection):
    try:
        with connection:
            serve(connection)
    except OSError:
        return


def certificate(folder, name):
    """(certificate, key) in PEM files, self-signed, for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    now, subject = datetime.now(timezone.utc), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False).sign(key, hashes.SHA256()))
    paths = folder / f"{name}.crt", folder / f"{name}.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return paths


@contextmanager
def entity(handlers, title="PEER", contexts=(ModalityWorklistInformationFind, Verification), tls=None):
    """A real DICOM application entity on a free port."""
    ae = AE(title)
    ae.require_called_aet = True
    for context in contexts:
        ae.add_supported_context(context)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=tls)
    try:
        yield DimsePeer("127.0.0.1", server.server_address[1], "PEER", timeout_s=2)
    finally:
        server.shutdown()


def failure(peer, act=Dimse.echo, *given):
    began = time.monotonic()
    with pytest.raises(PeerFailed) as failed:
        act(Dimse(peer, "The PACS", "pacs"), *given)
    return failed.value, time.monotonic() - began


@pytest.mark.parametrize("serve", [lambda connection: time.sleep(5), lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
                                   lambda connection: connection.sendall(b"\x02\x00" + (0x7FFF_FFFF).to_bytes(4, "big") + bytes(1000)), lambda connection: None],
                         ids=["silent", "http", "endless", "hangs up"])
def test_a_peer_that_speaks_something_else_is_named_in_time(serve):
    with listening(serve) as peer:
        failed, seconds = failure(peer)
    assert failed.result in ("timeout", "refused") and "gave no DICOM answer" in str(failed) and seconds < 20


def test_nobody_at_the_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    failed, _ = failure(DimsePeer("127.0.0.1", port, "PEER", timeout_s=1))
    assert failed.result == "unreachable" and f"127.0.0.1:{port}" in str(failed)


def test_a_peer_that_does_not_know_us_says_what_to_enter():
    with entity([], title="SOMEBODY") as peer:
        failed, _ = failure(peer)
    assert failed.result == "refused" and "APPLIANCE" in str(failed) and 'ae_title = "PEER"' in str(failed)


def test_a_service_that_is_not_offered_is_named():
    with entity([], contexts=(Verification,)) as peer:
        failed, _ = failure(peer, Dimse.find, _query(""), ModalityWorklistInformationFind)
    assert failed.result == "refused" and "does not offer this service" in str(failed)


def test_tls_knows_the_peer_by_its_certificate_and_shows_our_own(tmp_path):
    theirs, ours = certificate(tmp_path, "pacs"), certificate(tmp_path, "appliance")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*theirs)
    context.load_verify_locations(ours[0])
    context.verify_mode = ssl.CERT_REQUIRED
    with entity([], tls=context) as peer:
        Dimse(replace(peer, tls=TlsConfig(theirs[0], *ours)), "The PACS", "pacs").echo()
        for wrong in (TlsConfig(), TlsConfig(ours[0], *ours)):
            failed, _ = failure(replace(peer, tls=wrong))
            assert failed.result == "unreachable" and "by TLS" in str(failed)
        failed, _ = failure(peer)
        assert "does it want TLS" in str(failed)
    with pytest.raises(ConfigurationError, match="ca_certificate"):
        Dimse(replace(peer, tls=TlsConfig(tmp_path / "missing.crt")), "The PACS", "pacs")


def item(number):
    found = Dataset()
    found.PatientID, found.PatientName = f"P-{number}", "A^B"
    return found


def test_an_endless_search_ends_at_its_limit():
    def endless(_):
        for number in range(1_000_000):
            yield 0xFF00, item(number)

    with entity([(evt.EVT_C_FIND, endless)]) as peer:
        found = Worklist(peer).find(_query(""), 25)
    assert [one.PatientID for one in found] == [f"P-{number}" for number in range(25)]


def test_a_search_that_dawdles_is_aborted_at_its_deadline():
    def dawdling(_):
        for number in range(1000):
            time.sleep(0.2)
            yield 0xFF00, item(number)

    with entity([(evt.EVT_C_FIND, dawdling)]) as peer:
        failed, seconds = failure(peer, Dimse.find, _query(""), ModalityWorklistInformationFind)
    assert failed.result == "timeout" and seconds < 20


def test_a_search_that_fails_says_what_the_peer_said():
    with entity([(evt.EVT_C_FIND, lambda _: iter([(0xA700, None)]))]) as peer:
        failed, _ = failure(peer, Dimse.find, _query(""), ModalityWorklistInformationFind)
    assert failed.result == "refused" and "A700H" in str(failed)


def test_a_key_from_outside_matches_itself_alone():
    assert is_literal("P-1") and not any(map(is_literal, ("", "P*", "P-?", "a\\b", "a\x00", "x" * 65)))


def image(**changes):
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.Rows, made.Columns, made.SamplesPerPixel, made.PhotometricInterpretation = 8, 16, 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.PixelData = np.arange(128, dtype="<u2").tobytes()
    made["PixelData"].VR = "OW"
    for keyword, value in changes.items():
        setattr(made, keyword, value)
    return made


def test_a_picture_of_grey_values_is_shown_as_its_window_says():
    with Image.open(io.BytesIO(archive.render(image(), 1, archive.THUMBNAIL_SIDE))) as shown:
        assert shown.size == (16, 8) and shown.getpixel((0, 0))[0] < 20 and shown.getpixel((15, 7))[0] > 235
    with Image.open(io.BytesIO(archive.render(image(PhotometricInterpretation="MONOCHROME1"), 1, archive.THUMBNAIL_SIDE))) as shown:
        assert shown.getpixel((0, 0))[0] > 235


@pytest.mark.parametrize("changes", [{"PixelData": b"\0\0"}, {"Rows": 65535, "Columns": 65535}, {"SamplesPerPixel": 7}, {"BitsAllocated": 3}, {"PhotometricInterpretation": "<b>"}])
def test_an_object_that_contradicts_itself_is_no_picture(changes):
    with pytest.raises(PeerFailed):
        archive.render(image(**changes), 1, archive.THUMBNAIL_SIDE)
