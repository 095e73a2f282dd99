"""A second path for the source's packets (ST 2022-7), and losses on purpose for rehearsals: options of `appliance source`, checked. Called by options.py."""
import argparse
import re
from dataclasses import dataclass

from appliance.errors import ConfigurationError
from appliance.source import destination
from appliance.source.network import interface_address

_SKEW_MS_MAX = 500


@dataclass(frozen=True)
class SecondPath:
    """Where every packet goes a second time. IPv4 text."""

    group: str
    port: int
    source_address: str
    skew_ms: float
    """How much later than by the first path."""


@dataclass(frozen=True)
class Impairment:
    """Shares of the video's packets that the first and the second path lose, 0 to 1; which ones follows from `seed`."""

    losses: tuple[float, float] = (0.0, 0.0)
    seed: int = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the second path and of losses."""
    parser.add_argument("--second-path", metavar="GROUP[:PORT][@INTERFACE]", help="send video and metadata a second time there (ST 2022-7), by that interface")
    parser.add_argument("--second-skew-ms", type=float, default=0, metavar="N", help="how much later by the second path (default: 0)")
    parser.add_argument("--loss", type=float, default=0, metavar="PERCENT", help="video packets that the first path loses, at random (default: 0)")
    parser.add_argument("--second-loss", type=float, default=0, metavar="PERCENT", help="those that the second path loses (default: 0)")
    parser.add_argument("--seed", type=int, default=1, help="which ones are lost follows from it (default: 1)")


def second_path(options: argparse.Namespace, group: str, port: int) -> SecondPath | None:
    """The second path, or None; `group` and `port` are the first one's. Raises ConfigurationError."""
    text = options.second_path
    if text is None:
        if options.second_loss or options.second_skew_ms:
            raise ConfigurationError("--second-loss, --second-skew-ms", "a second path", "none", "Add --second-path GROUP.")
        return None
    expected = "GROUP[:PORT][@INTERFACE] such as 239.20.23.1:5004@eth2"
    match = re.fullmatch(r"([0-9.]+)(?::([0-9]{1,5}))?(?:@(.+))?", text)
    try:
        address = destination.group("--second-path", match[1] if match else "")
        number = destination.port("--second-path", int(match[2] or port))
    except ConfigurationError:
        raise ConfigurationError("--second-path", expected, text) from None
    if not 0 <= options.second_skew_ms <= _SKEW_MS_MAX:
        raise ConfigurationError("--second-skew-ms", f"0 to {_SKEW_MS_MAX} ms", f"{options.second_skew_ms:g}")
    found = SecondPath(address, number, interface_address(match[3] or options.interface), options.second_skew_ms)
    if (found.group, found.port, found.source_address) == (group, port, interface_address(options.interface)):
        raise ConfigurationError("--second-path", "another group, port or interface than the first path's", text)
    return found


def impairment(options: argparse.Namespace) -> Impairment:
    """What is lost. Raises ConfigurationError."""
    for option, percent in (("--loss", options.loss), ("--second-loss", options.second_loss)):
        if not 0 <= percent <= 100:
            raise ConfigurationError(option, "0 to 100 percent", f"{percent:g}")
    return Impairment((options.loss / 100, options.second_loss / 100), options.seed)
