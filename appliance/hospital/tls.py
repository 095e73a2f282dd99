"""TLS towards the hospital's systems: who they must be, and who we are to them. Called when a connection's owner is made, and by `check`."""
import ssl

from appliance.errors import ConfigurationError
from appliance.hospital_config import TlsConfig


def client_context(tls: TlsConfig) -> ssl.SSLContext:
    """TLS 1.2 or later, the peer's certificate checked against its name (PS3.15 B.12 builds on it). ConfigurationError for files that cannot be used."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if tls.ca_certificate:
            context = ssl.create_default_context(cafile=tls.ca_certificate)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"ca_certificate {tls.ca_certificate}", "a PEM file of certificates", str(error)) from error
    try:
        if tls.certificate and tls.certificate_key:
            context.load_cert_chain(tls.certificate, tls.certificate_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"certificate {tls.certificate}", "a PEM certificate, and its key without a password in certificate_key", str(error)) from error
    return context
