"""One run of load beside what it cost, and medians of several runs.

A series is the list of the runs of one cell. A run that failed stays in its series as the reason, so that no figure is
made of the others.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import asdict, dataclass

from . import floor, load, process
from .environment import Database
from .process import Cluster
from .workloads import Workload


# Rate and CPU time are taken over nearly the same time. Where they do not fit together, the load generator was not on time.
PLAUSIBLE = 1.1


@dataclass(frozen=True)
class Sample:
    """What one run found. Latencies in µs; CPU in µs for each request; memory in bytes; None: not measured."""

    rate: float
    p50: float
    p99: float
    p999: float
    gateway_cpu: float | None = None
    database_cpu: float | None = None
    resident: float | None = None


@dataclass(frozen=True)
class Failed:
    """A run that gave no figures, and why."""

    reason: str


Series = list[Sample | Failed]


@dataclass(frozen=True)
class Median(Sample):
    """The medians of a series, each figure for itself; `spread` is how far the rates lie apart, as a share of it."""

    spread: float = 0.0


def say(text: str) -> None:
    """Tells whoever waits how far it has come."""
    print(text, file=sys.stderr, flush=True)


def of_server(
    target: load.Target, connections: int, seconds: float,
    server: int | None = None, cluster: Cluster | None = None,
) -> Sample | Failed:
    """Load on a server, of which `server` is the process id and `cluster` the PostgreSQL, if they can be seen."""
    if server is not None:
        process.reset_peak(server)
    server_before = process.cpu_us(server) if server is not None else 0
    cluster_before = cluster.cpu_us() if cluster is not None else 0
    try:
        found = load.run(target, connections, seconds)
    except load.LoadFailure as failure:
        say(f"FAILED: {failure}")
        return Failed(str(failure))
    gateway_cpu = (process.cpu_us(server) - server_before) / found.requests if server is not None else None
    database_cpu = (cluster.cpu_us() - cluster_before) / found.requests if cluster is not None else None
    busy = found.rate * ((gateway_cpu or 0) + (database_cpu or 0)) / 1e6
    if busy > process.cores() * PLAUSIBLE:
        return Failed(f"no machine of {process.cores()} cores spends {busy:.1f} s of CPU time in a second")
    return Sample(
        rate=found.rate, p50=found.p50, p99=found.p99, p999=found.p999,
        gateway_cpu=gateway_cpu, database_cpu=database_cpu,
        resident=process.peak_resident(server) if server is not None else None,
    )


def of_floor(database: Database, workload: Workload, clients: int, seconds: int, claims: str, bare: bool) -> Sample:
    """pgbench in place of a gateway."""
    before = database.cluster.cpu_us()
    found = floor.run(database, workload, clients, seconds, claims, bare)
    cpu = (database.cluster.cpu_us() - before) / found.requests
    return Sample(rate=found.rate, p50=found.p50, p99=found.p99, p999=found.p999, database_cpu=cpu)


def median(series: Series) -> Median | Failed:
    """The medians of a series; the first failure, if there is one."""
    samples: list[Sample] = []
    for run in series:
        if isinstance(run, Failed):
            return run
        samples.append(run)
    figures: dict[str, float | None] = {}
    for name in asdict(samples[0]):
        values = [value for sample in samples if (value := getattr(sample, name)) is not None]
        figures[name] = statistics.median(values) if values else None
    rates = [sample.rate for sample in samples]
    return Median(**figures, spread=(max(rates) - min(rates)) / statistics.median(rates))  # type: ignore[arg-type]
