"""The certificate: made once, private, renewed when it must be, and a hospital's own is used as it is."""
import datetime
import ipaddress
import logging
import ssl
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from appliance import config
from appliance.errors import ConfigurationError
from appliance.gateway import certificate

LOG = logging.getLogger("test")
NOW = datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)


def server(folder: Path, listen: str = "10.0.0.5:8443", **changes) -> config.ServerConfig:
    text = f'[server]\nlisten = "{listen}"\n[[stream]]\nname = "s"\ninterface = "lo"\nvideo = "a.sdp"\n'
    return replace(config.parse(text, folder / "appliance.toml").server, **changes)


def read(folder: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / "state" / "certificate.pem").read_bytes())


def test_the_first_run_makes_one_and_the_next_keeps_it(tmp_path):
    assert certificate.tls_context(server(tmp_path), LOG).minimum_version is ssl.TLSVersion.TLSv1_2
    first = read(tmp_path)
    certificate.tls_context(server(tmp_path), LOG)
    assert read(tmp_path) == first
    names = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    assert {ipaddress.ip_address(text) for text in ("127.0.0.1", "::1", "10.0.0.5")} == set(names.get_values_for_type(x509.IPAddress))
    assert isinstance(first.public_key().curve, ec.SECP256R1)
    assert first.not_valid_after_utc - first.not_valid_before_utc == datetime.timedelta(days=825)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").iterdir()}
    assert modes == {"certificate.pem": 0o600, "certificate.key": 0o600}


def test_a_new_address_needs_a_new_certificate(tmp_path):
    certificate.tls_context(server(tmp_path), LOG)
    first = read(tmp_path)
    certificate.tls_context(server(tmp_path, "[2001:DB8::1]:8443"), LOG)
    second = read(tmp_path)
    assert second != first
    certificate.tls_context(server(tmp_path, "[2001:db8:0::1]:8443"), LOG)
    assert read(tmp_path) == second


def test_the_first_certificate_is_news_and_one_in_place_of_another_is_a_warning(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    certificate.tls_context(server(tmp_path), LOG)
    assert [record.levelname for record in caplog.records] == ["INFO"] and certificate.check(server(tmp_path)) == ""
    (tmp_path / "state" / "certificate.key").write_text("no key")
    assert "is made anew at the next start, and every browser asks" in certificate.check(server(tmp_path))
    certificate.tls_context(server(tmp_path), LOG)
    assert caplog.records[-1].levelname == "WARNING" and certificate.check(server(tmp_path)) == ""


@pytest.fixture
def files(tmp_path):
    """Paths of a certificate and key made at NOW for "a"."""
    paths = tmp_path / "a.pem", tmp_path / "a.key"
    for path, content in zip(paths, certificate.self_signed(["a"], NOW)):
        path.write_bytes(content)
    return paths


def test_a_certificate_is_remade_before_it_ends(files):
    assert certificate.why_remake(*files, ["a"], NOW) == ""
    assert certificate.why_remake(*files, ["a"], NOW + datetime.timedelta(days=793)) == ""
    assert "expired" in certificate.why_remake(*files, ["a"], NOW + datetime.timedelta(days=795))


def test_what_cannot_be_used_is_remade(files):
    pem, key = files
    assert "lacks the name b" in certificate.why_remake(pem, key, ["a", "b"], NOW)
    missing = key.with_name("missing")
    assert certificate.why_remake(missing, missing, ["a"], NOW) == certificate.NONE_YET
    assert "cannot be read" in certificate.why_remake(pem, missing, ["a"], NOW) and "cannot be read" in certificate.why_remake(missing, key, ["a"], NOW)
    other = key.with_name("other.key")
    other.write_bytes(certificate.self_signed(["a"], NOW)[1])
    assert "another's" in certificate.why_remake(pem, other, ["a"], NOW)
    for content in (b"", b"nonsense", pem.read_bytes()):
        other.write_bytes(content)
        assert "cannot be read" in certificate.why_remake(pem, other, ["a"], NOW)
        if content != pem.read_bytes():
            assert "cannot be read" in certificate.why_remake(other, key, ["a"], NOW)


def test_a_configured_certificate_is_used_and_nothing_is_made(tmp_path, files):
    pem, key = files
    certificate.tls_context(server(tmp_path, certificate=pem, certificate_key=key), LOG)
    assert not (tmp_path / "state").exists()


def test_a_configured_certificate_that_cannot_be_used_is_refused(tmp_path, files):
    pem, key = files
    locked = tmp_path / "locked.key"
    locked.write_bytes(_locked_key())
    for wrong in ({"certificate": key, "certificate_key": pem}, {"certificate": tmp_path / "missing", "certificate_key": key},
                  {"certificate": pem, "certificate_key": locked}):
        with pytest.raises(ConfigurationError, match="certificate"):
            certificate.tls_context(server(tmp_path, **wrong), LOG)


def _locked_key() -> bytes:
    from cryptography.hazmat.primitives import serialization
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"passphrase"))


def test_a_state_dir_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "state").write_text("a file")
    with pytest.raises(ConfigurationError, match="state_dir"):
        certificate.tls_context(server(tmp_path), LOG)
