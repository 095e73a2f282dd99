"""The tables [worklist] and [pacs] of the configuration file, and what of a stream they concern. Read by config.py, with its rules.

Both are optional: without them nothing of the hospital's systems runs. Secrets stay in these values, which no stage but the hospital's uses.
"""
import re
from dataclasses import dataclass
from pathlib import Path

from appliance.toml_table import Table

AE_TITLE_DEFAULT = "APPLIANCE"
TIMEOUT_S_DEFAULT, TIMEOUT_S_MAX = 10, 120
HISTORY_MS_DEFAULT, HISTORY_MS_MAX = 600, 3000
QUEUE_MB_DEFAULT, QUEUE_MB_MAX = 4096, 1 << 20
# Source: PS3.5 section 6.2, VR AE: 16 characters of the default repertoire without backslash and control characters; SH is as long.
_AE_TITLE = re.compile(r"(?! )[ -\[\]-~]{1,16}(?<! )")
_MODALITY = re.compile(r"[A-Z]{2,16}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?")
_WEB_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
_HEADER_TEXT = re.compile(r"[!-~]{1,4096}")


@dataclass(frozen=True)
class TlsConfig:
    """How a peer is known, and how we are known to it; PEM files."""

    ca_certificate: Path | None = None  # None: the authorities that this machine trusts
    certificate: Path | None = None     # ours, where the peer wants one
    certificate_key: Path | None = None


@dataclass(frozen=True)
class DimsePeer:
    """A DICOM application entity (PS3.8): where it listens, and who we are to it."""

    host: str
    port: int
    ae_title: str
    calling_ae_title: str = AE_TITLE_DEFAULT
    tls: TlsConfig | None = None  # None: without
    timeout_s: int = TIMEOUT_S_DEFAULT

    def __str__(self) -> str:
        return f"{self.ae_title} at {self.host}:{self.port}"


@dataclass(frozen=True)
class WebPeer:
    """A DICOMweb origin server (PS3.18)."""

    url: str  # its base, without a slash at the end
    username: str = ""
    password: str = ""
    token: str = ""
    tls: TlsConfig = TlsConfig()
    timeout_s: int = TIMEOUT_S_DEFAULT

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True)
class WorklistConfig:
    """[worklist]: the hospital's Modality Worklist (PS3.4 Annex K)."""

    peer: DimsePeer
    modality: str = ""  # "": cases of every modality


@dataclass(frozen=True)
class PacsConfig:
    """[pacs]: the archive, by DICOMweb, by DIMSE, or by both: then DICOMweb is used."""

    web: WebPeer | None
    dimse: DimsePeer | None
    full_depth: bool = True
    history_ms: int = HISTORY_MS_DEFAULT
    queue_mb: int = QUEUE_MB_DEFAULT

    @property
    def peer(self) -> WebPeer | DimsePeer:
        """The one that is spoken to."""
        return self.web or self.dimse


def is_station(text: str) -> bool:
    """Whether a scheduled station AE title or station name may read so."""
    return bool(_AE_TITLE.fullmatch(text))


def read_worklist(top: Table) -> WorklistConfig | None:
    """[worklist], None if there is none."""
    if "worklist" not in top.values:
        top.table("worklist")
        return None
    table = top.table("worklist")
    peer = _dimse(table, required=True)
    modality = table.text("modality", "", lambda text: not text or bool(_MODALITY.fullmatch(text)), 'a modality such as "ES", or ""')
    table.close()
    return WorklistConfig(peer, modality)


def read_pacs(top: Table) -> PacsConfig | None:
    """[pacs], None if there is none."""
    if "pacs" not in top.values:
        top.table("pacs")
        return None
    table = top.table("pacs")
    web = _web(table)
    dimse = _dimse(table, required=False)
    if web is None and dimse is None:
        table.report("dicomweb", 'dicomweb = "https://...", or host, port and ae_title', "neither", "Ask the PACS administrator which of the two it offers.")
    config = PacsConfig(
        web, dimse,
        full_depth=table.boolean("full_depth", True),
        history_ms=table.integer("history_ms", HISTORY_MS_DEFAULT, 0, HISTORY_MS_MAX),
        queue_mb=table.integer("queue_mb", QUEUE_MB_DEFAULT, 16, QUEUE_MB_MAX))
    table.close()
    return config


def _web(table: Table) -> WebPeer | None:
    url = table.text("dicomweb", "", lambda text: bool(_WEB_URL.fullmatch(text)), 'the base URL of the DICOMweb services such as "https://pacs.example/dicom-web"')
    username, password, token = (table.text(key, "", lambda text: bool(_HEADER_TEXT.fullmatch(text)), "printable characters without spaces")
                                 for key in ("username", "password", "token"))
    if token and (username or password):
        table.report("token", "token alone, or username and password", "both")
    if bool(username) != bool(password):
        table.report("password" if username else "username", "username and password together", "only one of them")
    if not url:
        return None
    return WebPeer(url.rstrip("/"), username, password, token, _tls(table), _timeout_s(table))


def _dimse(table: Table, required: bool) -> DimsePeer | None:
    required = required or "host" in table.values
    host = table.text("host", None if required else "", lambda text: bool(_HOST.fullmatch(text)), "a host name or address, without a port")
    port = table.integer("port", 104, 1, 65_535)
    title, calling = (table.text(key, default, lambda text: bool(_AE_TITLE.fullmatch(text)), "an AE title: 1 to 16 printable characters")
                      for key, default in (("ae_title", None if required else ""), ("calling_ae_title", AE_TITLE_DEFAULT)))
    secured, tls, timeout_s = table.boolean("tls", False), _tls(table), _timeout_s(table)
    return DimsePeer(host, port, title, calling, tls if secured else None, timeout_s) if host else None


def _timeout_s(table: Table) -> int:
    return table.integer("timeout_s", TIMEOUT_S_DEFAULT, 1, TIMEOUT_S_MAX)


def _tls(table: Table) -> TlsConfig:
    tls = TlsConfig(*(table.path(key) for key in ("ca_certificate", "certificate", "certificate_key")))
    if (tls.certificate is None) != (tls.certificate_key is None):
        table.report("certificate_key" if tls.certificate else "certificate", "certificate and certificate_key together", "only one of them")
    return tls
