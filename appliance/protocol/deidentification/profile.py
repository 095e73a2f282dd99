"""The Basic Application Level Confidentiality Profile (PS3.15 table E.1-1, from profile.json) and what its codes come down to for a grain.

Read once, by rules.py. Interprets codes, knows no values.
"""
import json
from importlib.resources import files

_TABLE = json.loads(files(__package__).joinpath("profile.json").read_text(encoding="utf-8"))
EDITION: str = _TABLE["edition"]
# Whole groups and private elements ("60xx3000", "PRIVATE") are X in the table, and no rule lets them pass.
_ROWS = {int(tag, 16): (basic, modified) for tag, _, basic, modified in _TABLE["rows"] if "x" not in tag and tag != "PRIVATE"}

DUMMY, EMPTY, REMOVE, UID, MODIFY = "D", "Z", "X", "U", "C"
"""What table E.1-1a calls the actions; MODIFY: the shifted date or time of the option (section E.3.6)."""

# Attributes of the Real-Time Communication IODs (PS3.3 A.32.9, A.32.10, A.33) that must have a value (Type 1), or be there (Type 2), and that
# the profile speaks of.
TYPE_1 = frozenset((0x0008_0018, 0x0008_0023, 0x0008_002A, 0x0008_0033, 0x0018_1000, 0x0020_000D, 0x0020_000E, 0x0020_0052, 0x0020_0200, 0x0034_0001,
                    0x0034_0002, 0x0034_0005, 0x0034_0007))
TYPE_2 = frozenset((0x0008_0020, 0x0008_0030, 0x0008_0050, 0x0008_0090, 0x0010_0010, 0x0010_0020, 0x0010_0030, 0x0010_0040, 0x0020_0010, 0x0040_0555))


def actions() -> dict[int, str]:
    """The action for each attribute of the table: DUMMY, EMPTY, REMOVE, UID or MODIFY."""
    return {tag: MODIFY if modified == "C" else resolve(basic, tag) for tag, (basic, modified) in _ROWS.items()}


def basic_action(tag: int) -> str:
    """The action without the option: for a date that is none."""
    return resolve(_ROWS[tag][0], tag)


def resolve(codes: str, tag: int) -> str:
    """One of combined codes (PS3.15 table E.1-1a): the least that leaves the grain valid, so "X/Z/D" is D for Type 1, Z for Type 2, else X."""
    choices = codes.split("/")
    for types, action in ((TYPE_1, DUMMY), (TYPE_2, EMPTY)):
        if tag in types and action in choices:
            return action
    return choices[0]
