"""Counters and histograms in plain memory, for what happens at every call.

prometheus-client takes a lock and, with several processes, writes to a file for each increment; a call has
about ten of them. A tally changes a number in memory instead. Once a second, and before metrics are served,
what has changed is written to the files that the processes share, in the format of prometheus-client.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from portal.time_slices import in_slices

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
    from prometheus_client.mmap_dict import MmapedDict

Labels = tuple[str, ...]

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that tells prometheus-client at import which folder the processes share."""
SHARED_FILES = ("counter_{}.db", "counter_tallies-{}.db", "histogram_tallies-{}.db")
"""The files of a process whose values are kept when it has ended; `{}` is its id."""


class Description(NamedTuple):
    """What the reference says about a metric."""

    name: str
    type: str
    labels: Labels
    text: str


class CounterTally:
    """A counter. Parameters: name, without `_total`; text, a sentence for the reference."""

    def __init__(self, name: str, text: str, labels: Labels = ()) -> None:
        self.description = Description(f"{name}_total", "counter", labels, text)
        self.values: dict[Labels, float] = {} if labels else {(): 0.0}
        self.changed: set[Labels] = set(self.values)
        self._name = name

    def add(self, *labels: str, amount: float = 1.0) -> None:
        """Count. Parameters: labels, their values in the order of the constructor."""
        self.values[labels] = self.values.get(labels, 0.0) + amount
        self.changed.add(labels)

    def family(self) -> CounterMetricFamily:
        """The values as prometheus-client exposes them."""
        from prometheus_client.core import CounterMetricFamily

        family = CounterMetricFamily(self._name, self.description.text, labels=self.description.labels)
        for labels, value in self.values.items():
            family.add_metric(labels, value)
        return family

    def shared_values(self, labels: Labels) -> Iterator[tuple[str, float]]:
        """Keys and values of the shared file for these labels."""
        from prometheus_client.mmap_dict import mmap_key

        name, _, names, text = self.description
        yield mmap_key(self._name, name, [*names], [*labels], text), self.values[labels]


class HistogramTally:
    """A histogram of seconds. Parameters: bounds, the upper bounds of its buckets, without infinity."""

    def __init__(self, name: str, text: str, labels: Labels = (), *, bounds: Sequence[float]) -> None:
        self.description = Description(name, "histogram", labels, text)
        self.bounds = tuple(bounds)
        self.values: dict[Labels, list[float]] = {} if labels else {(): self._new()}
        """The counts of the buckets, not cumulative, and the sum."""
        self.changed: set[Labels] = set(self.values)

    def observe(self, value: float, *labels: str) -> None:
        """Count a value. Parameters: labels, their values in the order of the constructor."""
        row = self.values.get(labels)
        if row is None:
            row = self.values[labels] = self._new()
        row[bisect_left(self.bounds, value)] += 1.0
        row[-1] += value
        self.changed.add(labels)

    def _new(self) -> list[float]:
        return [0.0] * (len(self.bounds) + 2)

    @property
    def _bound_texts(self) -> list[str]:
        return [*(repr(float(bound)) for bound in self.bounds), "+Inf"]

    def family(self) -> HistogramMetricFamily:
        """The values as prometheus-client exposes them."""
        from prometheus_client.core import HistogramMetricFamily

        name, _, names, text = self.description
        family = HistogramMetricFamily(name, text, labels=names)
        for labels, row in self.values.items():
            below, buckets = 0.0, []
            for bound, count in zip(self._bound_texts, row, strict=False):
                below += count
                buckets.append((bound, below))
            family.add_metric(labels, buckets, row[-1])
        return family

    def shared_values(self, labels: Labels) -> Iterator[tuple[str, float]]:
        """Keys and values of the shared file for these labels."""
        from prometheus_client.mmap_dict import mmap_key

        name, _, names, text = self.description
        row = self.values[labels]
        for bound, count in zip(self._bound_texts, row, strict=False):
            key = mmap_key(name, f"{name}_bucket", [*names, "le"], [*labels, bound], text)
            yield key, count
        yield mmap_key(name, f"{name}_sum", [*names], [*labels], text), row[-1]


Tally = CounterTally | HistogramTally


class Tallies:
    """The tallies of one process; implements the collector of prometheus-client for a single process."""

    def __init__(self) -> None:
        self._tallies: list[Tally] = []
        self._files: dict[str, MmapedDict] = {}
        self._keys: dict[tuple[str, Labels], tuple[str, ...]] = {}
        """The keys of the shared file, by the name of the metric and its labels."""

    def counter(self, name: str, text: str, labels: Labels = ()) -> CounterTally:
        """Make a counter; see CounterTally."""
        made = CounterTally(name, text, labels)
        self._tallies.append(made)
        return made

    def histogram(
        self, name: str, text: str, labels: Labels = (), *, bounds: Sequence[float]
    ) -> HistogramTally:
        """Make a histogram; see HistogramTally."""
        made = HistogramTally(name, text, labels, bounds=bounds)
        self._tallies.append(made)
        return made

    def descriptions(self) -> list[Description]:
        """What there is, for the reference."""
        return [tally.description for tally in self._tallies]

    def collect(self) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
        """Yield the metrics of this process."""
        for tally in self._tallies:
            yield tally.family()

    async def flush(self) -> None:
        """Write what has changed to the files that the processes share, if there are several processes."""
        folder = os.environ.get(FOLDER)
        if folder is None:
            return
        for tally in self._tallies:
            changed, tally.changed = tally.changed, set()
            if not changed:
                continue
            file = self._file(Path(folder), tally.description.type)
            async for labels in in_slices(changed):
                known = self._keys.get((tally.description.name, labels))
                pairs = tuple(tally.shared_values(labels)) if known is None else ()
                if known is None:
                    known = self._keys[tally.description.name, labels] = tuple(key for key, _ in pairs)
                for key, value in zip(known, _values(tally, labels), strict=True):
                    file.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Close the files; a later flush opens them again."""
        for file in self._files.values():
            file.close()  # type: ignore[no-untyped-call]
        self._files.clear()

    def _file(self, folder: Path, kind: str) -> MmapedDict:
        from prometheus_client.mmap_dict import MmapedDict

        if kind not in self._files:
            path = folder / f"{kind}_tallies-{os.getpid()}.db"
            self._files[kind] = MmapedDict(str(path))  # type: ignore[no-untyped-call]
        return self._files[kind]


def _values(tally: Tally, labels: Labels) -> Sequence[float]:
    value = tally.values[labels]
    return value if isinstance(value, list) else (value,)
