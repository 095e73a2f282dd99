"""Rows of the benchmark: printed as a table, kept as JSON with the machine that they were measured on."""
import json
import os
import platform
from pathlib import Path


class Table:
    """Collects (row, figure, value, unit, bar, beside)."""

    def __init__(self):
        self.rows = []

    def add(self, row, figure, value, unit, bar="", beside=""):
        """One figure; `bar` is what it should reach, `beside` the peer's figure of the same run."""
        self.rows.append(dict(row=row, figure=figure, value=value, unit=unit, bar=bar, beside=beside))
        print(self._line(self.rows[-1]), flush=True)

    @staticmethod
    def _line(row):
        value = f"{row['value']:.3g}" if isinstance(row["value"], float) else str(row["value"])
        return f"  {row['row']:<26} {row['figure']:<44} {value:>9} {row['unit']:<12} {row['bar']:<14} {row['beside']}"

    def finish(self, path: Path):
        """Prints everything once more in one piece and writes the JSON."""
        print(f"\n{machine_line()}\n  {'what':<26} {'figure':<44} {'value':>9} {'unit':<12} {'bar':<14} beside")
        for row in self.rows:
            print(self._line(row))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dict(machine=machine_line(), rows=self.rows), indent=1))
        print(f"\nJSON: {path}")


def machine_line():
    """Processor, cores, kernel."""
    models = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return f"{models[0] if models else platform.processor()}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"
