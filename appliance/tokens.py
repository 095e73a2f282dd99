"""Bearer tokens: who may see which stream, for how long. JWT (RFC 7519), HS256 with the key in state_dir/token.key.

The gateway verifies; `appliance token` and the demo issue. Nothing is stored: a token ends by its time, or all end with a new key.
"""
import argparse
import difflib
import os
import secrets
import socket
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import jwt

from appliance.config import Config, join_address, load
from appliance.errors import ApplianceError, ConfigurationError
from appliance.frame import Audience

ISSUER = "appliance"
ALGORITHM = "HS256"
KEY_BYTES = 32
HOURS_MAX = 24 * 366
CLOCK_TOLERANCE_S = 60
TOKEN_CHARACTERS_MAX = 2048
SUBJECT_CHARACTERS_MAX = 80
EVERY_STREAM = "*"
_CLAIMS = ("sub", "role", "stream", "iat", "exp", "iss")
_WILDCARD_HOSTS = ("0.0.0.0", "::")


class Role(str, Enum):
    """What a person is; the audience follows from it."""

    EXPERT = "expert"
    STUDENT = "student"

    @property
    def audience(self) -> Audience:
        """Only experts may see who the patient is."""
        return Audience.EXPERT if self is Role.EXPERT else Audience.CLASS


class TokenError(ApplianceError):
    """A token that gives no access; the message says why and holds nothing of the token."""


class TokenExpired(TokenError):
    """A good token whose time is over."""


@dataclass(frozen=True)
class Grant:
    """What a valid token permits."""

    subject: str
    role: Role
    stream: str  # a stream's name, or EVERY_STREAM
    expires_s: int  # seconds since 1970, UTC

    @property
    def audience(self) -> Audience:
        """The audience whose renditions and records this grant may get."""
        return self.role.audience

    def allows(self, stream: str) -> bool:
        """Whether the stream of that name may be seen."""
        return self.stream in (stream, EVERY_STREAM)


def signing_key(state_dir: Path) -> bytes:
    """The signing key, 32 octets; made on the first call. ConfigurationError if the file cannot be read, made or trusted."""
    path = state_dir / "token.key"
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _create(path)
        key = bytes.fromhex(path.read_text("ascii"))
    except OSError as error:
        remedy = "Run this command as the user that the appliance runs as, or as root."
        raise ConfigurationError(str(path), "a file that this user may read and make", error.strerror or str(error), remedy) from error
    except ValueError:
        key = b""
    if len(key) < KEY_BYTES:
        remedy = "Remove the file: a new key is made, and tokens given out so far end."
        raise ConfigurationError(str(path), f"{KEY_BYTES} octets in hexadecimal", "something else", remedy)
    return key


def issue(key: bytes, role: Role | str, stream: str, hours: float = 12, subject: str = "", now_s: float | None = None) -> str:
    """A token for one person. ConfigurationError for a lifetime out of range; whether the stream exists is the caller's to check."""
    role = Role(role)
    if len(subject) > SUBJECT_CHARACTERS_MAX or not (subject or "-").isprintable():
        # It stands in the log: a line end would forge a line there.
        raise ConfigurationError("token --name", f"at most {SUBJECT_CHARACTERS_MAX} printable characters", repr(subject[:80]))
    if not 0 < hours <= HOURS_MAX:
        raise ConfigurationError("token --hours", f"more than 0, at most {HOURS_MAX}", f"{hours:g}")
    issued_s = int(time.time() if now_s is None else now_s)
    claims = {"sub": subject or f"{role.value}-{secrets.token_hex(4)}", "role": role.value, "stream": stream,
              "iat": issued_s, "exp": issued_s + max(1, round(hours * 3600)), "iss": ISSUER}
    return jwt.encode(claims, key, ALGORITHM)


def verify(key: bytes, token: str, now_s: float | None = None) -> Grant:
    """What the token permits now; TokenError if nothing. Any string may come in."""
    now_s = time.time() if now_s is None else now_s
    if len(token) > TOKEN_CHARACTERS_MAX:
        raise TokenError("the token is too long")
    try:
        # Times are compared below with the caller's clock.
        claims = jwt.decode(token, key, [ALGORITHM], issuer=ISSUER,
                            options={"require": list(_CLAIMS), "verify_exp": False, "verify_iat": False, "verify_nbf": False})
    except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
        raise TokenError("the token is malformed, or was not signed by this appliance") from error
    subject, stream, issued_s, expires_s = claims["sub"], claims["stream"], claims["iat"], claims["exp"]
    try:
        role = Role(claims["role"])
    except ValueError as error:
        raise TokenError("the token's role is unknown") from error
    if not (isinstance(subject, str) and subject.isprintable() and isinstance(stream, str) and type(issued_s) is type(expires_s) is int):
        raise TokenError("the token's claims are malformed")
    if now_s >= expires_s:
        raise TokenExpired("the token has expired")
    if issued_s > now_s + CLOCK_TOLERANCE_S:
        raise TokenError("the token is from the future; check the clocks")
    return Grant(subject, role, stream, expires_s)


def link(config: Config, role: Role | str, stream: str, hours: float = 12, subject: str = "") -> str:
    """A one-click link for one person: issues a token and puts it into the viewer's address."""
    token = issue_for(config, role, stream, hours, subject)
    # One page shows one stream: a token for all of them opens with the first.
    return address(config, config.streams[0].name if stream == EVERY_STREAM else stream, token)


def address(config: Config, stream: str, token: str) -> str:
    """Where the viewer shows this stream. The token is in the fragment, which stays in the browser and reaches no log."""
    server = config.server
    host = socket.gethostname() if server.listen_host in _WILDCARD_HOSTS else server.listen_host
    return f"https://{join_address(host, server.listen_port)}/?stream={stream}#token={token}"


def issue_for(config: Config, role: Role | str, stream: str, hours: float = 12, subject: str = "") -> str:
    """A token for a stream of this configuration; ConfigurationError if there is no such stream."""
    names = [known.name for known in config.streams]
    if stream not in (*names, EVERY_STREAM):
        close = difflib.get_close_matches(stream, names, 1)
        remedy = f"Did you mean {close[0]!r}?" if close else ""
        raise ConfigurationError("token --stream", f"one of {', '.join(names)}, or {EVERY_STREAM}", repr(stream), remedy)
    return issue(signing_key(config.server.state_dir), role, stream, hours, subject)


def run(options: argparse.Namespace) -> int:
    """`appliance token`: prints a token, or with --link the address that opens the viewer."""
    config = load(options.config)
    print((link if options.link else issue_for)(config, options.role, options.stream, options.hours, options.name))
    return 0


def _create(path: Path) -> None:
    """Makes the key file in one step: two processes that begin together end with the same key."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
            owner = path.parent.stat()
            if os.geteuid() == 0 and owner.st_uid != 0:
                # An administrator's `appliance token` must not make a key that the service cannot read.
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # another process was first; its key is as good
    finally:
        os.unlink(draft)
