"""Counters in shared memory segments, made by the supervisor: each stage writes its own cells, the exporter reads all.

A cell is 64 bits with one writing process; it survives the death of that process, so counters never go back to zero. Streams come and go
while stages run: what a stage shares with a stream lies in a segment of its own.
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


_Place = tuple[Series, memoryview]
"""A series and the cells of the segment that it lies in."""


class _Queries:
    """What is asked of one segment and of several alike."""

    def _each(self) -> Iterator[_Place]:
        raise NotImplementedError

    def _of(self, stage: str, name: str) -> Iterator[_Place]:
        raise NotImplementedError

    def read(self) -> Iterator[tuple[Series, int | tuple[list[int], int]]]:
        """Every series with its value: an integer, or a histogram's snapshot."""
        for series, cells in self._each():
            if series.metric.kind == HISTOGRAM:
                yield series, Histogram(cells, series).snapshot()
            else:
                yield series, cells[series.first]

    def clear_gauges(self, stage: str) -> None:
        """Zeroes what a dead stage said of its present; its counters stay."""
        for series, cells in self._each():
            if series.stage == stage and series.metric.kind == GAUGE:
                cells[series.first] = 0

    def find(self, stage: str, name: str, /, **labels: str) -> Cell:
        """One cell of any stage; KeyError if the table has no such series."""
        series, cells = self._lookup(stage, name, labels)
        return Cell(cells, series.first)

    def find_all(self, name: str, **labels: str) -> list[Cell]:
        """The cells of this metric in every stage whose labels include these."""
        wanted = set(labels.items())
        return [Cell(cells, series.first) for series, cells in self._each() if series.metric.name == name and wanted <= set(series.labels)]

    def histogram(self, stage: str, name: str, /, **labels: str) -> Histogram:
        """One histogram of any stage; KeyError if the table has no such series."""
        series, cells = self._lookup(stage, name, labels)
        return Histogram(cells, series)

    def _lookup(self, stage: str, name: str, labels: dict[str, str]) -> _Place:
        wanted = set(labels.items())
        matches = [place for place in self._of(stage, name) if wanted <= set(place[0].labels)]
        if len(matches) != 1:
            raise KeyError(f"{len(matches)} series are called {name} with {labels} in stage {stage}; declare it in runtime/metrics.py")
        return matches[0]


class Segment(_Queries):
    """One piece of memory and the series that lie in it."""

    def __init__(self, fd: int, series: Iterable[Series]) -> None:
        self.fd, self.series = fd, tuple(series)
        self._map = mmap.mmap(fd, 0)
        self.cells = memoryview(self._map).cast("Q")
        self._by_name: dict[tuple[str, str], list[Series]] = {}
        for one in self.series:
            self._by_name.setdefault((one.stage, one.metric.name), []).append(one)

    @classmethod
    def create(cls, series: Iterable[Series]) -> "Segment":
        """Allocates zeroed memory for the series in a memfd."""
        series = tuple(series)
        size = max(1, series[-1].first + series[-1].cells if series else 0) * _CELL_BYTES
        fd = os.memfd_create("counters", os.MFD_CLOEXEC)
        os.ftruncate(fd, size)
        os.posix_fallocate(fd, 0, size)
        return cls(fd, series)

    def carry_over(self, old: "Segment") -> None:
        """Goes on from what the series that both have counted in `old`. Only while none of their stages runs."""
        for one in self.series:
            for before in old._by_name.get((one.stage, one.metric.name), ()):
                if before.labels == one.labels and before.metric == one.metric:
                    self.cells[one.first:one.first + one.cells] = old.cells[before.first:before.first + one.cells]

    def _each(self) -> Iterator[_Place]:
        return ((series, self.cells) for series in self.series)

    def _of(self, stage: str, name: str) -> Iterator[_Place]:
        return ((series, self.cells) for series in self._by_name.get((stage, name), ()))


class Segments(_Queries):
    """Several segments by name, asked as one. They come and go; a cell that was found keeps its memory."""

    def __init__(self) -> None:
        self._segments: dict[str, Segment] = {}

    @property
    def series(self) -> tuple[Series, ...]:
        """Of all of them."""
        return tuple(series for series, _ in self._each())

    def put(self, name: str, segment: Segment) -> None:
        """Adds a segment, or replaces the one of that name."""
        self._segments[name] = segment

    def drop(self, name: str) -> None:
        """Forgets a segment."""
        del self._segments[name]

    def _each(self) -> Iterator[_Place]:
        for segment in list(self._segments.values()):
            yield from segment._each()

    def _of(self, stage: str, name: str) -> Iterator[_Place]:
        for segment in self._segments.values():
            yield from segment._of(stage, name)


class Counters:
    """A stage's view of all that it was given: its own cells by metric name and labels. Look cells up once, not per frame."""

    def __init__(self, segment: Segment | Segments, stage: str) -> None:
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
        series, cells = self.segment._lookup(self.stage, name, labels)
        if series.metric.kind != kind:
            raise KeyError(f"{name} is a {series.metric.kind}, not a {kind}")
        return Cell(cells, series.first)
