"""Who may do what: bearer tokens (RFC 6750), and session names that say to whom a session belongs. Called for every request but pages.

Nothing is stored: a session's name carries its worker and a proof of its stream and audience, so a restarted gateway knows it.
"""
import base64
import hashlib
import hmac
import secrets

from appliance import tokens
from appliance.frame import Audience
from appliance.gateway.problem import Problem

_REALM = 'Bearer realm="appliance"'
_RANDOM_BYTES = _PROOF_BYTES = 16
SESSION_NAME_CHARACTERS_MAX = 64


class Doorkeeper:
    """Decides with the signing key of state_dir."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        # Proofs of sessions are not tokens: they get a key of their own, derived from the one on disk.
        self._session_key = hmac.digest(key, b"session names", hashlib.sha256)

    def grant(self, authorization: str | None, now_s: float | None = None) -> tokens.Grant:
        """What the Authorization header permits; Problem 401 if nothing."""
        scheme, _, token = (authorization or "").strip().partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            # Source: RFC 6750 section 3.1: a request without any credentials is told of no error.
            raise Problem(401, "no_token", "A bearer token is needed; open the viewer by the link that you were given.", {"WWW-Authenticate": _REALM})
        try:
            return tokens.verify(self._key, token.strip(), now_s)
        except tokens.TokenError as error:
            challenge = f'{_REALM}, error="invalid_token", error_description="{error}"'
            reason = "expired_token" if isinstance(error, tokens.TokenExpired) else "bad_token"
            raise Problem(401, reason, f"No access: {error}.", {"WWW-Authenticate": challenge}) from error

    def name_session(self, worker: int, stream: str, audience: Audience) -> str:
        """A new session name "{worker}.{secret}"; nobody can guess one or make one up."""
        random = secrets.token_bytes(_RANDOM_BYTES)
        return f"{worker}.{_text(random + self._proof(worker, random, stream, audience))}"

    def worker_of(self, session: str, stream: str, audience: Audience) -> int:
        """The fan-out worker that holds a session. Problem 404 for a name that was never given out, 403 for another audience's."""
        worker, _, secret = session.partition(".")
        octets = _octets(secret) if len(session) <= SESSION_NAME_CHARACTERS_MAX else b""
        if not (worker.isascii() and worker.isdigit()) or str(int(worker)) != worker or len(octets) != _RANDOM_BYTES + _PROOF_BYTES:
            raise unknown_session()
        random, proof = octets[:_RANDOM_BYTES], octets[_RANDOM_BYTES:]
        for owner in Audience:
            if hmac.compare_digest(proof, self._proof(int(worker), random, stream, owner)):
                if owner is not audience:
                    raise forbidden("This session belongs to another role.")
                return int(worker)
        raise unknown_session()

    def etag(self, session: str) -> str:
        """The session's strong entity tag. It never changes, for ICE is never restarted within a session."""
        return f'"{hmac.digest(self._session_key, b"etag " + session.encode(), hashlib.sha256).hex()[:16]}"'

    def _proof(self, worker: int, random: bytes, stream: str, audience: Audience) -> bytes:
        message = b"%d %s %s " % (worker, stream.encode(), audience.value.encode()) + random
        return hmac.digest(self._session_key, message, hashlib.sha256)[:_PROOF_BYTES]


def require_stream(grant: tokens.Grant, stream: str, known: bool) -> None:
    """Problem 403 if the grant is for another stream, 404 if there is no such stream."""
    if not grant.allows(stream):
        raise forbidden("This token is for another stream.")
    if not known:
        raise Problem(404, "unknown_stream", "There is no stream of that name.")


def forbidden(sentence: str) -> Problem:
    """A valid token that does not reach this far."""
    return Problem(403, "forbidden", sentence, {"WWW-Authenticate": f'{_REALM}, error="insufficient_scope"'})


def unknown_session() -> Problem:
    """A session that has ended, or never was."""
    return Problem(404, "unknown_session", "There is no such session; it has ended, or never was.")


def _text(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _octets(text: str) -> bytes:
    try:
        octets = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except ValueError:
        return b""
    return octets if _text(octets) == text else b""  # one spelling only
