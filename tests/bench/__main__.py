"""`make bench`: the whole path beside its peers, as a table and JSON.   python -m tests.bench [reception latency stages fanout joins soak] [--minutes N]"""
import argparse
import tempfile
from pathlib import Path

from tests.bench import path
from tests.bench.joins import joins
from tests.bench.reception import reception
from tests.bench.table import Table

ROWS = {"reception": reception, "latency": path.latency, "stages": path.stages, "fanout": path.fanout, "joins": joins}


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"any of {', '.join(ROWS)}, soak; default: all but the soak")
    parser.add_argument("--minutes", type=float, default=10, help="length of the soak")
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"))
    options = parser.parse_args()
    unknown = set(options.rows) - {*ROWS, "soak"}
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    table = Table()
    for row in options.rows or ROWS:
        with tempfile.TemporaryDirectory(prefix="appliance-bench-") as folder:
            if row == "soak":
                path.soak(table, Path(folder), options.minutes)
            else:
                ROWS[row](table, Path(folder))
    table.finish(options.json)


main()
