"""What is measured: statements, what a gateway is sent for them, and what pgbench sends in its place.

Statements are written once, with parameters by name as pgbench has them (`:key`); HTTP bodies have them by number.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

USER = "user1"
# What parameters are, by name. `key` is a row of that user (helpers.sql: ids from 1, users in turn).
PARAMETERS = {"key": "1001", "user": USER, "task": "written by a benchmark"}
# As the driver @neondatabase/serverless asks for answers: rows as arrays, values as PostgreSQL writes them.
HEADERS = {"Content-Type": "application/json", "Neon-Raw-Text-Output": "true", "Neon-Array-Mode": "true"}


@dataclass(frozen=True)
class Statement:
    """One statement as callers send it, and `bare`, which needs no policy: it says itself whose rows it wants."""

    sql: str
    bare: str
    parameters: tuple[str, ...] = ()

    def numbered(self) -> str:
        """The statement with $1, $2 … for its parameters."""
        sql = self.sql
        for number, name in enumerate(self.parameters, 1):
            sql = sql.replace(f":{name}", f"${number}")
        return sql

    def as_json(self) -> dict[str, object]:
        """As it stands in a request."""
        return {"query": self.numbered(), "params": [PARAMETERS[name] for name in self.parameters]}


@dataclass(frozen=True)
class Request:
    """One HTTP request, without its token."""

    method: str = "POST"
    path: str = "/sql"
    headers: dict[str, str] = field(default_factory=lambda: dict(HEADERS))
    body: str = ""


@dataclass(frozen=True)
class Workload:
    """What one request asks for, and how many rows must come of it."""

    name: str
    title: str
    statements: tuple[Statement, ...]
    rows: int
    # Run by the superuser after each measurement: leaves the tables as they were.
    cleanup: str = ""

    def request(self) -> Request:
        """The request for `POST /sql`; more than one statement are a batch."""
        queries = [statement.as_json() for statement in self.statements]
        body = queries[0] if len(queries) == 1 else {"queries": queries}
        return Request(body=json.dumps(body))

    def sql(self, bare: bool) -> list[str]:
        """What pgbench sends, without the statement that opens the session."""
        return [statement.bare if bare else statement.sql for statement in self.statements]


def select(limit: int) -> Statement:
    """The first rows of the caller's."""
    columns = "select id, task, is_complete from todos"
    return Statement(
        sql=f"{columns} order by id limit {limit}",
        bare=f"{columns} where user_id = :user order by id limit {limit}",
    )


BY_KEY = Statement(
    sql="select id, task, is_complete from todos where id = :key",
    bare="select id, task, is_complete from todos where id = :key and user_id = :user",
    parameters=("key",),
)
WHO = Statement(sql="select auth.user_id()", bare="select :user::text")
INSERT = Statement(
    sql="insert into todos (task) values (:task) returning id",
    bare="insert into todos (user_id, task) values (:user, :task) returning id",
    parameters=("task",),
)

# Insertion comes last: what it leaves in spite of the clean-up (pages, statistics) then concerns nothing else.
WORKLOADS = (
    Workload("select_10", "select 10 rows", (select(10),), 10),
    Workload("select_100", "select 100 rows", (select(100),), 100),
    Workload("select_key", "select 1 row by key", (BY_KEY,), 1),
    Workload("user_id", "select auth.user_id()", (WHO,), 1),
    Workload("batch_3", "batch of 3 (by key, 10 rows, auth.user_id())", (BY_KEY, select(10), WHO), 12),
    Workload(
        "insert", "insert returning", (INSERT,), 1,
        cleanup=f"delete from todos where task = '{PARAMETERS['task']}'; vacuum todos;",
    ),
)


def named(names: list[str]) -> tuple[Workload, ...]:
    """The workloads of these names, all if there are none; raises KeyError with a sentence."""
    by_name = {workload.name: workload for workload in WORKLOADS}
    for name in names:
        if name not in by_name:
            raise KeyError(f"no workload {name}; there are {', '.join(by_name)}")
    return tuple(by_name[name] for name in names) or WORKLOADS


def rows_of(answer: object) -> int:
    """How many rows a JSON answer holds: a plain array's elements, or `rows` of one result or of all `results`."""
    if isinstance(answer, list):
        return len(answer)
    if isinstance(answer, dict):
        if isinstance(answer.get("results"), list):
            return sum(rows_of(result) for result in answer["results"])
        if isinstance(answer.get("rows"), list):
            return len(answer["rows"])
    raise ValueError("the answer holds no rows")


