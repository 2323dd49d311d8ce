"""The same load on another server: `bench/run --against URL`. What differs from Rowgate's interface is said in a file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import load, measure, process
from .environment import SQL, EnvironmentFailure
from .process import Cluster
from .table import count, latency, mebibytes, micros, share, table
from .workloads import WORKLOADS, Request, Workload

SCHEMA = Path(__file__).with_name("schema.sql")
KNOWN = {"method", "path", "headers", "body", "rows", "contains"}


@dataclass(frozen=True)
class Question:
    """What another server is asked for a workload, and how its answer is known to be right."""

    workload: Workload
    request: Request
    rows: int | None
    contains: str | None = None


@dataclass(frozen=True)
class Other:
    """Another server. `pid` and `postmaster`: its process and its PostgreSQL, if they are on this machine."""

    url: str
    questions: tuple[Question, ...]
    tokens: Path | None = None
    headers: dict[str, str] = field(default_factory=dict)
    pid: int | None = None
    postmaster: int | None = None

    def target(self, question: Question) -> load.Target:
        """For wrk. A file with a single token is sent as it is, without rotation."""
        request = question.request
        request = Request(request.method, request.path, {**request.headers, **self.headers}, request.body)
        if self.tokens is None:
            return load.Target(self.url, request)
        tokens = self.tokens.read_text().split()
        if len(tokens) == 1:
            return load.Target(self.url, request, token=tokens[0])
        return load.Target(self.url, request, tokens=self.tokens.resolve())


def questions(workloads: tuple[Workload, ...], file: Path | None) -> tuple[Question, ...]:
    """The workloads as they are sent to Rowgate; or, with a file, those that it has a section for, as that says.

    Raises EnvironmentFailure if the file is not understood.
    """
    if file is None:
        return tuple(Question(workload, workload.request(), workload.rows) for workload in workloads)
    try:
        sections = tomllib.loads(file.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise EnvironmentFailure(f"{file}: {error}") from error
    unknown = sections.keys() - {workload.name for workload in WORKLOADS}
    if unknown:
        raise EnvironmentFailure(f"{file}: no workload {', '.join(unknown)}")
    return tuple(question(workload, sections[workload.name]) for workload in workloads if workload.name in sections)


def question(workload: Workload, section: dict[str, Any]) -> Question:
    """A section: what it does not say is as for Rowgate; but headers are replaced as a whole."""
    if section.keys() - KNOWN:
        raise EnvironmentFailure(f"[{workload.name}]: unknown {', '.join(section.keys() - KNOWN)}")
    usual = workload.request()
    request = Request(
        method=section.get("method", usual.method), path=section.get("path", usual.path),
        headers=section.get("headers", usual.headers), body=section.get("body", usual.body),
    )
    # `rows = -1`: the answer has no rows that could be counted.
    rows = section.get("rows", workload.rows)
    return Question(workload, request, None if rows < 0 else rows, section.get("contains"))


def report(other: Other, connections: tuple[int, ...], rounds: int, seconds: int) -> tuple[str, bool]:
    """Measures it; a Markdown text, and whether every cell has figures."""
    cluster = Cluster(other.postmaster) if other.postmaster is not None else None
    series: dict[tuple[str, int], measure.Series] = {}
    before = process.load_average()
    for asked in other.questions:
        load.check(other.target(asked), asked.rows, asked.contains)
        measure.of_server(other.target(asked), max(connections), 1)
    for number in range(rounds):
        for asked in other.questions:
            measure.say(f"round {number + 1} of {rounds}: {asked.workload.title}")
            for connection in connections if number % 2 == 0 else reversed(connections):
                sample = measure.of_server(other.target(asked), connection, seconds, other.pid, cluster)
                series.setdefault((asked.workload.name, connection), []).append(sample)
    parts = [
        f"{other.url}, measured by `bench/run --against`: {process.machine().sentence()} (of the benchmark); medians of "
        f"{rounds} rounds of {seconds} s; load average before it began {before:.2f}."
    ]
    for asked in other.questions:
        found = {c: measure.median(series[asked.workload.name, c]) for c in connections}
        parts.append(f"### {asked.workload.title}\n\n{rows_of(found)}")
    whole = not any(isinstance(run, measure.Failed) for runs in series.values() for run in runs)
    return "\n\n".join(parts), whole


def rows_of(found: dict[int, measure.Median | measure.Failed]) -> str:
    """A workload's table."""
    head = ["connections", "req/s", "spread", "p50", "p99", "p99.9", "server CPU", "PostgreSQL CPU", "memory"]
    rows = []
    for connections, median in found.items():
        if isinstance(median, measure.Failed):
            rows.append([count(connections), f"**failed**: {median.reason}"] + [""] * (len(head) - 2))
            continue
        rows.append([
            count(connections), count(median.rate), share(median.spread), latency(median.p50), latency(median.p99),
            latency(median.p999), micros(median.gateway_cpu), micros(median.database_cpu), mebibytes(median.resident),
        ])
    return table(head, rows)


def schema(users: int, rows: int) -> str:
    """SQL that makes and fills the table in another server's database."""
    table_and_policies = [
        (SQL / "migrations/V1__todos.sql").read_text(),
        (SQL / "migrations/V3__todos_in_order.sql").read_text(),
        (SQL / "policies/todos.sql").read_text(),
        (SQL / "grants/todos.sql").read_text(),
        "grant usage on schema public to authenticated, anonymous;\n",
    ]
    fill = (
        "-- A superuser's inserts are bound by no policy; an owner's are, while row level security is forced.\n"
        "alter table todos no force row level security;\n"
        f"insert into todos (user_id, task, is_complete)\n"
        f"select 'user' || i % {users}, 'task number ' || i, i % 3 = 0\nfrom generate_series(1, {rows}) i;\n"
        "alter table todos force row level security;\nvacuum analyze todos;\n"
    )
    return SCHEMA.read_text() + "\n".join([*table_and_policies, fill])
