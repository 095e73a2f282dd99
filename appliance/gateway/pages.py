"""The viewer's files, read into memory at start: what is not in dist/ cannot be asked for. Called by the application."""
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

DIST = Path(__file__).parent.parent / "viewer" / "dist"
FILES_MAX = 256
FILE_BYTES_MAX = 16 << 20

_TYPES = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8", ".json": "application/json", ".map": "application/json", ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml", ".png": "image/png", ".ico": "image/x-icon", ".woff2": "font/woff2", ".txt": "text/plain; charset=utf-8",
}
_HASHED_NAME = re.compile(r"-[A-Z0-9]{8}\.[a-z0-9]+$")  # as esbuild writes it
_UNBUILT = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Viewer not built</title></head><body>
<h1>The viewer has not been built</h1><p>Run <code>make build</code> in the appliance's folder and restart the appliance.</p></body></html>
"""


@dataclass(frozen=True)
class Page:
    """One file of the viewer, ready to send."""

    body: bytes
    content_type: str
    etag: str  # without quotes
    cache_control: str


def page_of(name: str, body: bytes) -> Page:
    """A file by its name. One with a hash in its name never changes; every other is asked for again each time (304 mostly)."""
    content_type = _TYPES.get(Path(name).suffix.lower(), "application/octet-stream")
    cache_control = "public, max-age=31536000, immutable" if _HASHED_NAME.search(name) else "no-cache"
    return Page(body, content_type, hashlib.sha256(body).hexdigest()[:32], cache_control)


UNBUILT = page_of("unbuilt.html", _UNBUILT.encode())


def built(dist: Path | None = None) -> bool:
    """Whether there is a viewer to show."""
    return ((dist or DIST) / "index.html").is_file()


def read(dist: Path | None = None) -> dict[str, Page]:
    """Every page by its path ("/" is index.html); only "/" with a note on how to build when there is no viewer."""
    dist = dist or DIST
    if not built(dist):
        return {"/": UNBUILT}
    pages = {}
    for path in sorted(dist.rglob("*"))[:FILES_MAX]:
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= FILE_BYTES_MAX:
            name = "/" + path.relative_to(dist).as_posix()
            pages[name] = page_of(name, path.read_bytes())
    pages["/"] = pages["/index.html"]
    return pages
