"""Typed reading of one TOML table; config.py calls it. A wrong value is reported and its default stands in, so that reading goes on.

Knows nothing of what the keys mean. What it gave is valid only if nothing was reported.
"""
import difflib
import ipaddress
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from appliance.errors import ConfigurationError

_GOT_CHARACTERS_MAX = 60
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\.?")
_SOCKET_OR_WEB = "https?|wss?"
_URL_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_address(text: str) -> bool:
    """Whether the text is an IPv4 or IPv6 address, without brackets."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class Table:
    """One TOML table while it is read: typed takers that report problems and go on; close() refuses the keys nobody took."""

    def __init__(self, values: dict[str, Any], name: str, path: Path, problems: list[str]) -> None:
        self.values, self._name, self._path, self._problems = values, name, path, problems
        self._known: list[str] = []

    def report(self, key: str, expected: str, got: str, remedy: str = "") -> None:
        """Notes that `key` is wrong; every taker below does so by itself and then gives the default."""
        where = f"{self._path}: {self._name} {key}" if self._name else f"{self._path}: {key}"
        self._problems.append(ConfigurationError(where, expected, got, remedy).sentence())

    def close(self) -> None:
        """Reports the keys that nobody took, each with the known one that it resembles."""
        for key in sorted(self.values.keys() - set(self._known)):
            close = difflib.get_close_matches(key, self._known, 1)
            remedy = f"Did you mean {close[0]!r}?" if close else "Remove it."
            self.report(_shown(key), f"one of {', '.join(self._known)}", "an unknown key", remedy)

    def table(self, key: str) -> "Table":
        """The table [key]; an empty one stands for a missing one."""
        value = self._take(key, dict, "a table", {})
        return Table(value, f"[{key}]", self._path, self._problems)

    def tables(self, key: str) -> list["Table"]:
        """The tables [[key]]."""
        value = self.values.get(key)
        self._known.append(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.report(key, f"tables written [[{key}]]", _shown(value), f"Write [[{key}]] with two brackets.")
            return []
        return [Table(item, f"[[{key}]] {number}", self._path, self._problems) for number, item in enumerate(value, 1)]

    def text(self, key: str, default: str | None, accepts: Callable[[str], bool] = bool, expected: str = "text") -> str:
        """A string that `accepts` is true of; `default` None: required, and "" comes back when it is missing or wrong."""
        value = self._take(key, str, expected, default)
        if isinstance(self.values.get(key), str) and not accepts(value):
            self.report(key, expected, _shown(value))
            value = default
        return value or ""

    def choice(self, key: str, default: str, choices: tuple[str, ...]) -> str:
        """One of a few words."""
        return self.text(key, default, lambda text: text in choices, f"one of {', '.join(choices)}")

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        expected = f"a whole number from {low} to {high}"
        value = self._take(key, int, expected, default)
        if not low <= value <= high:
            self.report(key, expected, str(value))
            return default
        return value

    def boolean(self, key: str, default: bool) -> bool:
        """true or false."""
        return self._take(key, bool, "true or false", default)

    def integers(self, key: str, low: int, high: int, most: int) -> tuple[int, ...]:
        """A list of at most `most` whole numbers from low to high, both included; empty where it is missing."""
        expected = f"a list of at most {most} whole numbers from {low} to {high}"
        value = self._take(key, list, expected, [])
        wrong = [item for item in value if not isinstance(item, int) or isinstance(item, bool) or not low <= item <= high]
        if wrong or len(value) > most:
            self.report(key, expected, _shown(wrong[0]) if wrong else f"{len(value)} of them")
            return ()
        return tuple(value)

    def strings(self, key: str, default: tuple[str, ...], accepts: Callable[[str], bool], expected: str) -> tuple[str, ...]:
        """A list of strings that `accepts` is true of."""
        value = self._take(key, list, f"a list of {expected}", list(default))
        wrong = [item for item in value if not isinstance(item, str) or not accepts(item)]
        if wrong:
            self.report(key, f"a list of {expected}", _shown(wrong[0]))
            return default
        return tuple(value)

    def address(self, key: str, default: str) -> tuple[str, int]:
        """`host:port` with a host name, an IPv4 address or an IPv6 address in brackets."""
        split = _split_address(self.text(key, default, lambda text: _split_address(text) is not None,
                                         'host:port such as "0.0.0.0:8443" or "[::]:8443", port 1 to 65535'))
        assert split is not None, "the default of an address is an address"
        return split

    def path(self, key: str, default: str | None = None) -> Path | None:
        """A path; a relative one begins at the folder of the configuration file."""
        value = self.text(key, default or "", _is_path, "a path")
        return Path(os.path.normpath(self._path.parent / value)) if value else None

    def flow(self, key: str, required: bool = False) -> str | None:
        """The path or http(s) URL of an SDP file; None if it is optional and missing."""
        expected = "the path of an SDP file, or its http:// or https:// URL"
        value = self.text(key, None if required else "", _is_flow, expected)
        if not value:
            return None
        return value if _URL_SCHEME.match(value) else os.path.normpath(self._path.parent / value)

    def flows(self, key: str, count_max: int) -> tuple[str, ...]:
        """One or several flows, each by the path or http(s) URL of its SDP file, or by the ws(s):// address that carries its packets."""
        expected = "the path of an SDP file, its http:// or https:// URL, or a ws:// or wss:// address"
        value = self.values.get(key, [])
        self._known.append(key)
        items = [value] if isinstance(value, str) else value
        wrong = [item for item in items if not isinstance(item, str) or not _is_flow(item, _SOCKET_OR_WEB)] if isinstance(items, list) else [items]
        if wrong:
            self.report(key, expected, _shown(wrong[0]))
            return ()
        if len(items) > count_max or len(set(items)) < len(items):
            self.report(key, f"at most {count_max} different flows", f"{len(items)}")
            return ()
        return tuple(item if _URL_SCHEME.match(item) else os.path.normpath(self._path.parent / item) for item in items)

    def _take(self, key: str, kind: type, expected: str, default: Any) -> Any:
        self._known.append(key)
        if key not in self.values:
            if default is None:
                self.report(key, expected, "nothing", f"Add the line {key} = ...")
            return default
        value = self.values[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.report(key, expected, _shown(value))
            return default
        return value


def _split_address(text: str) -> tuple[str, int] | None:
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65_535:
        return None
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        return (host, int(port)) if ":" in host and is_address(host) else None
    # A name made of digits and dots alone is a mistyped address, not a host.
    named = bool(_HOST_NAME.fullmatch(host)) and not re.fullmatch(r"[0-9.]+", host)
    return (host, int(port)) if named or (is_address(host) and ":" not in host) else None


def _is_path(text: str) -> bool:
    return bool(text) and "\0" not in text


def _is_flow(text: str, schemes: str = "https?") -> bool:
    if not _URL_SCHEME.match(text):
        return _is_path(text)
    if not re.fullmatch(rf"(?:{schemes})://[^\s/]\S*", text):
        return False
    try:
        return bool(urlsplit(text).hostname) and urlsplit(text).port != 0
    except ValueError:  # a port that is none
        return False


def _shown(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)  # as TOML writes it
    return text if len(text) <= _GOT_CHARACTERS_MAX else text[: _GOT_CHARACTERS_MAX - 3] + "..."
