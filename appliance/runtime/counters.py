"""Counters in one shared memory segment, made by the supervisor: each stage writes its own cells, the exporter reads all.

A cell is 64 bits with one writing process; it survives the death of that process, so counters never go back to zero.
"""
import bisect
import itertools
import mmap
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from appliance.runtime.metrics import COUNTER, GAUGE, HISTOGRAM, Metric

_CELL_BYTES = 8
_MASK = 0xFFFF_FFFF_FFFF_FFFF

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Series:
    """One metric with one set of label values; `first` is its first cell. A histogram has a cell a bucket (+Inf last), then its sum."""

    stage: str
    metric: Metric
    labels: Labels
    first: int

    @property
    def cells(self) -> int:
        """Cells that the series takes."""
        return len(self.metric.buckets_s) + 2 if self.metric.kind == HISTOGRAM else 1


def series_of(stage: str, metrics: Iterable[Metric], scope: dict[str, str], first: int = 0) -> list[Series]:
    """Every series of a stage from its metrics, their label values and the labels that the topology gives it."""
    found = []
    for metric in metrics:
        given = tuple((name, scope[name]) for name in metric.scope)
        names = [name for name, _ in metric.choices]
        for values in itertools.product(*(choice for _, choice in metric.choices)):
            found.append(Series(stage, metric, given + tuple(zip(names, values)), first))
            first += found[-1].cells
    return found


class Cell:
    """One counter or gauge."""

    __slots__ = ("_cells", "_index")

    def __init__(self, cells: memoryview, index: int) -> None:
        self._cells, self._index = cells, index

    def add(self, n: int = 1) -> None:
        """Counts n more."""
        self._cells[self._index] = (self._cells[self._index] + n) & _MASK

    def set(self, value: int) -> None:
        """Sets a gauge."""
        self._cells[self._index] = value & _MASK

    @property
    def value(self) -> int:
        """What the cell holds, in the cell's own unit."""
        return self._cells[self._index]


class Histogram:
    """Durations in nanoseconds, sorted into buckets."""

    __slots__ = ("_cells", "_first", "_bounds_ns")

    def __init__(self, cells: memoryview, series: Series) -> None:
        self._cells, self._first = cells, series.first
        self._bounds_ns = [round(bound * 1e9) for bound in series.metric.buckets_s]

    def observe_ns(self, value_ns: int) -> None:
        """Adds one duration; a negative one (clocks that differ) counts as zero."""
        value_ns = max(value_ns, 0)
        index = self._first + bisect.bisect_left(self._bounds_ns, value_ns)
        self._cells[index] += 1
        total = self._first + len(self._bounds_ns) + 1
        self._cells[total] = (self._cells[total] + value_ns) & _MASK

    def merge(self, counts: Iterable[int], total_ns: int) -> None:
        """Adds durations that C has sorted into the same buckets (not cumulative, +Inf last), and their sum."""
        for index, count in enumerate(counts, self._first):
            self._cells[index] += count
        total = self._first + len(self._bounds_ns) + 1
        self._cells[total] = (self._cells[total] + total_ns) & _MASK

    def snapshot(self) -> tuple[list[int], int]:
        """Counts by bucket (not cumulative, +Inf last) and the sum in nanoseconds."""
        last = self._first + len(self._bounds_ns)
        return list(self._cells[self._first:last + 1]), self._cells[last + 1]


class Segment:
    """The memory of all counters."""

    def __init__(self, fd: int, series: list[Series]) -> None:
        self.fd, self.series = fd, series
        self._map = mmap.mmap(fd, 0)
        self.cells = memoryview(self._map).cast("Q")

    @classmethod
    def create(cls, series: list[Series]) -> "Segment":
        """Allocates zeroed memory for the series in a memfd."""
        size = max(1, series[-1].first + series[-1].cells if series else 0) * _CELL_BYTES
        fd = os.memfd_create("counters", os.MFD_CLOEXEC)
        os.ftruncate(fd, size)
        os.posix_fallocate(fd, 0, size)
        return cls(fd, series)

    def read(self) -> Iterator[tuple[Series, int | tuple[list[int], int]]]:
        """Every series with its value: an integer, or a histogram's snapshot."""
        for series in self.series:
            if series.metric.kind == HISTOGRAM:
                yield series, Histogram(self.cells, series).snapshot()
            else:
                yield series, self.cells[series.first]

    def clear_gauges(self, stage: str) -> None:
        """Zeroes what a dead stage said of its present; its counters stay."""
        for series in self.series:
            if series.stage == stage and series.metric.kind == GAUGE:
                self.cells[series.first] = 0

    def find(self, stage: str, name: str, /, **labels: str) -> Cell:
        """One cell of any stage; KeyError if the table has no such series."""
        return Cell(self.cells, self._lookup(stage, name, labels).first)

    def find_all(self, name: str, **labels: str) -> list[Cell]:
        """The cells of this metric in every stage whose labels include these."""
        wanted = set(labels.items())
        return [Cell(self.cells, series.first) for series in self.series
                if series.metric.name == name and wanted <= set(series.labels)]

    def histogram(self, stage: str, name: str, /, **labels: str) -> Histogram:
        """One histogram of any stage; KeyError if the table has no such series."""
        return Histogram(self.cells, self._lookup(stage, name, labels))

    def _lookup(self, stage: str, name: str, labels: dict[str, str]) -> Series:
        wanted = set(labels.items())
        matches = [series for series in self.series
                   if series.stage == stage and series.metric.name == name and wanted <= set(series.labels)]
        if len(matches) != 1:
            raise KeyError(f"{len(matches)} series are called {name} with {labels} in stage {stage}; declare it in runtime/metrics.py")
        return matches[0]


class Counters:
    """A stage's view of the segment: its own cells by metric name and labels. Look cells up once, not per frame."""

    def __init__(self, segment: Segment, stage: str) -> None:
        self.segment, self.stage = segment, stage

    def counter(self, name: str, **labels: str) -> Cell:
        """A counter's cell; KeyError if runtime/metrics.py does not declare it for this stage."""
        return self._cell(COUNTER, name, labels)

    def gauge(self, name: str, **labels: str) -> Cell:
        """A gauge's cell; KeyError if runtime/metrics.py does not declare it for this stage."""
        return self._cell(GAUGE, name, labels)

    def histogram(self, name: str, **labels: str) -> Histogram:
        """A histogram; KeyError if runtime/metrics.py does not declare it for this stage."""
        return self.segment.histogram(self.stage, name, **labels)

    def _cell(self, kind: str, name: str, labels: dict[str, str]) -> Cell:
        series = self.segment._lookup(self.stage, name, labels)
        if series.metric.kind != kind:
            raise KeyError(f"{name} is a {series.metric.kind}, not a {kind}")
        return Cell(self.segment.cells, series.first)
