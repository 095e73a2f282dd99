"""Headers of responses, and what headers of requests mean: security, CORS, Link, If-Match, Accept. Pure functions."""
from collections.abc import Iterable

from appliance.config import IceServer

SDP, SDP_FRAGMENT = "application/sdp", "application/trickle-ice-sdpfrag"
METADATA_EXTENSION = "urn:ietf:params:whep:ext:dicom-rtv:metadata"

CONTENT_SECURITY_POLICY = "; ".join((
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'", "media-src 'self' blob:",
    "font-src 'self'", "manifest-src 'self'", "base-uri 'none'", "form-action 'self'", "frame-ancestors 'none'"))
_SECURITY = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), display-capture=(), usb=(), payment=(), fullscreen=(self), picture-in-picture=(self)",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_HSTS_S = 365 * 24 * 3600
_PREFLIGHT_AGE_S = 600


def security(trusted_certificate: bool) -> dict[str, str]:
    """Headers of every response. HSTS only with a certificate of the hospital's: a self-signed one could then never be clicked away."""
    return _SECURITY | ({"Strict-Transport-Security": f"max-age={_HSTS_S}"} if trusted_certificate else {})


def cross_origin(origin: str | None, allowed_origins: tuple[str, ...]) -> dict[str, str]:
    """CORS headers for a page of another origin; none if it may not. Tokens travel in a header, never in cookies, so "*" is safe."""
    if not allowed_origins:
        return {}
    if "*" in allowed_origins:
        allowed = {"Access-Control-Allow-Origin": "*"}
    elif origin in allowed_origins:
        allowed = {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
    else:
        return {"Vary": "Origin"}
    return allowed | {
        "Access-Control-Allow-Methods": "OPTIONS, GET, HEAD, POST, PATCH, DELETE",
        "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
        "Access-Control-Expose-Headers": "Location, Link, ETag, Accept-Patch, Retry-After, WWW-Authenticate",
        "Access-Control-Max-Age": str(_PREFLIGHT_AGE_S),
    }


def links(session_path: str, ice_servers: Iterable[IceServer]) -> list[str]:
    """Values of Link for a new session: our metadata channel, and the ICE servers."""
    return [f'<{session_path}>; rel="{METADATA_EXTENSION}"; channel="metadata"', *ice_links(ice_servers)]


def ice_links(ice_servers: Iterable[IceServer]) -> list[str]:
    """Values of Link that name ICE servers."""
    values = []
    for server in ice_servers:
        value = f'<{server.url}>; rel="ice-server"'
        if server.username:
            value += f'; username="{server.username}"; credential="{server.credential}"; credential-type="password"'
        values.append(value)
    return values


def accepts(accept: str | None, media_type: str) -> bool:
    """Whether an Accept header admits the media type (RFC 9110 section 12.5.1); no header admits everything."""
    if not accept or not accept.strip():
        return True
    quality = {}
    for choice in accept.split(","):
        name, *parameters = (part.strip().lower() for part in choice.split(";"))
        quality[name] = next((_quality(text[2:]) for text in parameters if text.startswith("q=")), 1.0)
    for name in (media_type, media_type.partition("/")[0] + "/*", "*/*"):  # the most specific one decides
        if name in quality:
            return quality[name] > 0
    return False


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def entity_tags(if_match: str) -> list[str]:
    """The entity tags of If-Match; weak ones are left out, for they never match strongly (RFC 9110 section 13.1.1)."""
    return [tag for tag in (part.strip() for part in if_match.split(",")) if tag and not tag.startswith("W/")]
