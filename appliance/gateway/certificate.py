"""The server's certificate: the hospital's own, or a self-signed one made on the first run in state_dir. Called by the gateway at its start.

Invariant: a private key is never readable by other users, not even while it is being written.
"""
import datetime
import ipaddress
import logging
import os
import secrets
import socket
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from appliance.config import ServerConfig, is_address
from appliance.errors import ConfigurationError

LIFETIME = datetime.timedelta(days=825)  # Source: Apple's and CA/B Forum's old limit; browsers refuse a longer one
RENEWED_BEFORE = datetime.timedelta(days=30)
_CLOCK_TOLERANCE = datetime.timedelta(days=1)
NONE_YET = "there is none yet"
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


def tls_context(server: ServerConfig, log: logging.Logger) -> ssl.SSLContext:
    """A server context, TLS 1.2 or newer. ConfigurationError if the certificate cannot be used or made."""
    if server.certificate and server.certificate_key:
        return _context(server.certificate, server.certificate_key)
    certificate, key = _self_signed_paths(server)
    names = _names(server.listen_host)
    reason = why_remake(certificate, key, names, datetime.datetime.now(datetime.UTC))
    if reason == NONE_YET:
        log.info("making a self-signed certificate in %s", server.state_dir)
    elif reason:
        log.warning("making another self-signed certificate in %s, about which every browser asks its user again: %s", server.state_dir, reason)
    if reason:
        _write_self_signed(certificate, key, names)
    return _context(certificate, key)


def check(server: ServerConfig) -> str:
    """What to know of a self-signed certificate that cannot be kept, or ""; ConfigurationError if the configuration's cannot be used. Makes nothing."""
    if server.certificate and server.certificate_key:
        _context(server.certificate, server.certificate_key)
        return ""
    reason = why_remake(*_self_signed_paths(server), _names(server.listen_host), datetime.datetime.now(datetime.UTC))
    kept = reason in ("", NONE_YET)
    return "" if kept else f"the self-signed certificate in {server.state_dir} is made anew at the next start, and every browser asks whether to go on: {reason}"


def _self_signed_paths(server: ServerConfig) -> tuple[Path, Path]:
    return server.state_dir / "certificate.pem", server.state_dir / "certificate.key"


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    try:
        # A key with a passphrase is refused here; without this OpenSSL would ask for it at a terminal that nobody sees.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"[server] certificate {certificate}, certificate_key {key}",
                                 "a PEM certificate with its chain, and its key without a passphrase", str(error),
                                 "Check the two files, and that the appliance's user may read them.") from error
    return context


def why_remake(certificate: Path, key: Path, names: list[str], now: datetime.datetime) -> str:
    """Why the self-signed certificate cannot be kept, in a few words; "" if it can."""
    if not certificate.exists() and not key.exists():
        return NONE_YET
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        private = serialization.load_pem_private_key(key.read_bytes(), None)
        alternatives = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except PermissionError as error:
        raise ConfigurationError(error.filename, "a file that this user may read", "no permission", "Give the file to the appliance's user.") from error
    except (OSError, ValueError, TypeError, x509.ExtensionNotFound) as error:
        return f"the old one cannot be read ({error})"
    if found.public_key() != private.public_key():
        return "its key is another's"
    if now > found.not_valid_after_utc - RENEWED_BEFORE:
        return "the old one has expired, or soon will"
    covered = {str(name.value) for name in alternatives}
    missing = [name for name in names if name not in covered]
    return f"the old one lacks the name {missing[0]}" if missing else ""


def _names(listen_host: str) -> list[str]:
    """Names and addresses by which people may reach this machine, addresses in their one canonical spelling."""
    names = ["localhost", "127.0.0.1", "::1", socket.gethostname(), listen_host.partition("%")[0]]
    canonical = [str(ipaddress.ip_address(name)) if is_address(name) else name for name in names if name.isascii()]
    return [name for name in dict.fromkeys(canonical) if name not in ("", "0.0.0.0", "::")]


def self_signed(names: list[str], now: datetime.datetime) -> tuple[bytes, bytes]:
    """A new EC P-256 certificate for these names and its key, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "DICOM-RTV appliance")])
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_TOLERANCE).not_valid_after(now - _CLOCK_TOLERANCE + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256())
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM), private


def _general_name(name: str) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_address(name)) if is_address(name) else x509.DNSName(name)


def _write_self_signed(certificate: Path, key: Path, names: list[str]) -> None:
    certificate_pem, key_pem = self_signed(names, datetime.datetime.now(datetime.UTC))
    try:
        certificate.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, content in ((key, key_pem), (certificate, certificate_pem)):
            draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
    except OSError as error:
        raise ConfigurationError(str(certificate.parent), "a state_dir that this user may write to", error.strerror or str(error),
                                 "Create it for the appliance's user, or name another one as [server] state_dir.") from error
