"""`make bench`: the whole path beside its peers, as a table and JSON.   python -m tests.bench [ROW ...] [--brief] [--minutes N] [--json FILE]

--brief runs every row for a moment with a few viewers: what it shows is that the rows still run, not what they measure.
"""
import argparse
import math
import sys
import tempfile
import traceback
from pathlib import Path

from tests.bench.fanout import fanout
from tests.bench.flows import flows
from tests.bench.formats import formats
from tests.bench.grains import grains
from tests.bench.joins import joins
from tests.bench.latency import crowd, latency
from tests.bench.metadata import metadata
from tests.bench.network import network
from tests.bench.path import soak, stages
from tests.bench.reception import reception
from tests.bench.sound import sound
from tests.bench.table import Table

ROWS = {"reception": reception, "flows": flows, "latency": latency, "crowd": crowd, "stages": stages, "formats": formats, "fanout": fanout, "metadata": metadata,
        "grains": grains, "joins": joins, "network": network, "sound": sound, "soak": soak}
"""Each takes a table and an empty folder, and adds its figures to the table."""
ONLY_WHEN_NAMED = ("soak",)
BRIEF = {"reception": dict(seconds=2), "flows": dict(seconds=1), "latency": dict(seconds=2), "crowd": dict(seconds=2, viewers=5),
         "stages": dict(seconds=2, joins=3), "formats": dict(seconds=1), "fanout": dict(seconds=1, viewers=5),
         "metadata": dict(seconds=1, viewers=5), "grains": dict(seconds=2), "joins": dict(watching=3, joining=3),
         "network": dict(seconds=1), "sound": dict(seconds=3, settle_s=2), "soak": dict(minutes=0.1)}


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"any of {', '.join(ROWS)}; default: all but {', '.join(ONLY_WHEN_NAMED)}")
    parser.add_argument("--brief", action="store_true", help="a moment of each row, to see that it runs")
    parser.add_argument("--minutes", type=float, help="length of the soak (10)")
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"))
    options = parser.parse_args()
    unknown = set(options.rows) - set(ROWS)
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    table, broken = Table(), []
    for name in options.rows or [name for name in ROWS if name not in ONLY_WHEN_NAMED]:
        settings = BRIEF[name] if options.brief else {}
        if name == "soak" and options.minutes:
            settings = dict(minutes=options.minutes)
        if not _measure(name, table, settings):
            broken.append(name)
    table.finish(options.json)
    return f"broken rows: {', '.join(broken)}" if broken else 0


def _measure(name, table, settings):
    """Whether the row came to its end and every figure is one; the others are measured all the same."""
    first = len(table.rows)
    try:
        with tempfile.TemporaryDirectory(prefix="appliance-bench-") as folder:
            ROWS[name](table, Path(folder), **settings)
    except Exception:
        traceback.print_exc()
        return False
    missing = [row["figure"] for row in table.rows[first:] if isinstance(row["value"], float) and not math.isfinite(row["value"])]
    print(*(f"{name}: nothing measured for {figure}" for figure in missing), sep="\n", file=sys.stderr, end="\n" if missing else "")
    return len(table.rows) > first and not missing


sys.exit(main())
