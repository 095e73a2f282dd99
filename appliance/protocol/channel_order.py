"""What each channel of a sound flow is (ST 2110-30 section 6.2.2, channel-order) and how all are mixed down to two sides.

The SDP reader asks which groups there are, the sound stage what goes left and right. Pure; hears nothing.
"""
import math
import re
from collections.abc import Sequence

CHANNELS_MAX = 64
_HALF_POWER = math.sqrt(0.5)
_BOTH = (_HALF_POWER, _HALF_POWER)
_LEFT, _RIGHT, _NONE = (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)
_LEFT_BEHIND, _RIGHT_BEHIND = (_HALF_POWER, 0.0), (0.0, _HALF_POWER)

# What of each channel goes left and right. Surround as Recommendation ITU-R BS.775 mixes it; the low-frequency channel is left out.
GROUPS: dict[str, tuple[tuple[float, float], ...]] = {
    "M": (_BOTH,),
    "DM": (_BOTH, _BOTH),
    "ST": (_LEFT, _RIGHT),
    "LTRT": (_LEFT, _RIGHT),
    "51": (_LEFT, _RIGHT, _BOTH, _NONE, _LEFT_BEHIND, _RIGHT_BEHIND),
    "71": (_LEFT, _RIGHT, _BOTH, _NONE, _LEFT_BEHIND, _RIGHT_BEHIND, _LEFT_BEHIND, _RIGHT_BEHIND),
    "SGRP": (_BOTH,) * 4,
}
_PROGRAMMES = ("ST", "LTRT", "51", "71")  # a stereo version of the same is preferred to mixing one
_UNDEFINED = re.compile(r"U([0-9]{2})")


def parse(text: str) -> tuple[str, ...] | None:
    """The groups of `SMPTE2110.(ST,M)`, in upper case; None where that is not what it says."""
    match = re.fullmatch(r"SMPTE2110\.\(\s*([0-9A-Za-z, ]+?)\s*\)", text)
    groups = tuple(group.strip().upper() for group in match[1].split(",")) if match else ()
    return groups if groups and all(group in GROUPS or _channels_undefined(group) for group in groups) else None


def channels_of(groups: Sequence[str]) -> int:
    """How many channels the groups have together."""
    return sum(len(GROUPS[group]) if group in GROUPS else _channels_undefined(group) for group in groups)


def default(channels: int) -> tuple[str, ...]:
    """The groups of a flow that does not say: one channel is mono, two are stereo, more are microphones."""
    return {1: ("M",), 2: ("ST",)}.get(channels, ("M",) * channels)


def gains(groups: Sequence[str]) -> list[tuple[float, float]]:
    """How much of each channel goes left and right: one programme, the stereo one if there is one, and every microphone; at unity power."""
    wanted = next((group for group in _PROGRAMMES if group in groups), "")
    found: list[tuple[float, float]] = []
    for group in groups:
        own = GROUPS.get(group) or (_BOTH,) * _channels_undefined(group)
        heard = group not in _PROGRAMMES or group == wanted
        found += own if heard else (_NONE,) * len(own)
        wanted = "" if group == wanted else wanted  # the first one of its kind
    return _normalised(found)


def chosen_gains(channels: int, chosen: Sequence[int]) -> list[tuple[float, float]]:
    """The same where a person chose: one channel for both sides, or one for the left and one for the right; counted from 1."""
    found = [_NONE] * channels
    left, right = chosen[0] - 1, chosen[-1] - 1
    found[left] = (1.0, found[left][1])
    found[right] = (found[right][0], 1.0)
    return found


def _normalised(found: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Lowered, if need be, so that independent sounds of full scale in every channel have full scale's power on neither side more than once."""
    power = max(sum(gain[side] ** 2 for gain in found) for side in (0, 1))
    # A single microphone is heard at its own level on both sides.
    if len([gain for gain in found if gain != _NONE]) == 1:
        return [(1.0, 1.0) if gain == _BOTH else gain for gain in found]
    scale = 1 / math.sqrt(power) if power > 1 else 1.0
    return [(left * scale, right * scale) for left, right in found]


def _channels_undefined(group: str) -> int:
    match = _UNDEFINED.fullmatch(group)
    return min(int(match[1]), CHANNELS_MAX) if match else 0
