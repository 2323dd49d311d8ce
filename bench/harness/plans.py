"""Plans of statements as a gateway's callers get them, and how often each asks who the caller is.

A policy asks with `(select auth.user_id())`, which is to be evaluated once for each reference to its table, however
many rows there are; that is counted by PostgreSQL itself (`track_functions`), not read out of the plan.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from . import floor
from .environment import Database
from .workloads import USER

# Every user's message, so that this table is a large one, too. `bench.seal` is there already.
MESSAGES = """
insert into user_messages (user_id, message)
select 'user' || i, 'message of user ' || i from generate_series(1, 100000) i
on conflict do nothing;
vacuum analyze user_messages;
"""
LARGE_TABLES = ("todos", "user_messages")
SEQUENTIAL = re.compile(rf"Seq Scan on (?:public\.)?({'|'.join(LARGE_TABLES)})\b")
# Once to fill the caches and the function's own plan; the second is recorded.
RUNS = 2


@dataclass(frozen=True)
class Statement:
    """A statement, and why it may call auth.user_id() as often as it does."""

    title: str
    sql: str
    # Of `using` and of `with check`, once for each reference to a table; of column defaults, once for each row that
    # is inserted; and of the statement itself.
    using: int = 0
    check: int = 0
    default: int = 0
    own: int = 0
    # Values of $1, $2 … as SQL.
    arguments: tuple[str, ...] = ()

    @property
    def calls(self) -> int:
        """How often it may call auth.user_id()."""
        return self.using + self.check + self.default + self.own

    def because(self) -> str:
        """The same in words."""
        parts = [(self.using, "`using`"), (self.check, "`with check`"), (self.default, "default"), (self.own, "itself")]
        return " + ".join(f"{number} {what}" for number, what in parts if number) or "none"


UPSERT = (
    "insert into user_messages (message) values ($1)\n"
    "on conflict (user_id) do update set message = excluded.message returning user_id, message"
)

STATEMENTS = (
    Statement("The first ten", "select id, task, is_complete from todos order by id limit 10", using=1),
    Statement("The first hundred", "select id, task, is_complete from todos order by id limit 100", using=1),
    Statement("One by key", "select id, task, is_complete from todos where id = $1", using=1, arguments=("1001",)),
    Statement("Somebody else's by key", "select id, task from todos where id = $1", using=1, arguments=("1002",)),
    Statement("Open ones, in order", "select id, task from todos where not is_complete order by id", using=1),
    Statement("All", "select * from todos", using=1),
    Statement("How many", "select count(*) from todos", using=1),
    Statement(
        "Two references to a table",
        "select a.id from todos a join todos b on b.id = a.id + 1000 order by a.id limit 10", using=2,
    ),
    Statement("Who am I", "select auth.user_id()", own=1),
    Statement(
        "Insert one", "insert into todos (task) values ($1) returning id, user_id",
        check=1, default=1, arguments=("'Water the plants'",),
    ),
    Statement(
        "Insert three", "insert into todos (task) values ('a'), ('b'), ('c') returning id", check=1, default=3,
    ),
    Statement(
        "Insert a hundred, with the user",
        "insert into todos (user_id, task) select $1, 'task ' || i from generate_series(1, 100) i",
        check=1, arguments=(f"'{USER}'",),
    ),
    Statement(
        "Change one by key", "update todos set is_complete = true where id = $1 returning id, is_complete",
        using=1, check=1, arguments=("1001",),
    ),
    Statement("Change all", "update todos set is_complete = true", using=1, check=1),
    Statement("Delete one by key", "delete from todos where id = $1 returning id", using=1, arguments=("1001",)),
    Statement("Delete what is done", "delete from todos where is_complete", using=1),
    Statement("One's message", "select user_id, message from user_messages", using=1),
    Statement("Write or replace one's message: it is there", UPSERT, using=1, check=2, default=1, arguments=("'Hello'",)),
    Statement("Change one's message", "update user_messages set message = $1", using=1, check=1, arguments=("'Hello'",)),
    Statement("Delete one's message", "delete from user_messages", using=1),
)


@dataclass(frozen=True)
class Found:
    """A statement's plan, and how often it called auth.user_id()."""

    statement: Statement
    plan: str
    calls: int

    def faults(self) -> list[str]:
        """What is wrong with it: nothing, one hopes."""
        faults = [f"reads all of {table}" for table in SEQUENTIAL.findall(self.plan)]
        if self.calls != self.statement.calls:
            faults.append(f"calls auth.user_id() {self.calls} times, not {self.statement.calls}")
        faults += [f"runs an InitPlan {loops} times" for loops in _init_plan_loops(self.plan) if loops > 1]
        return faults


def _init_plan_loops(plan: str) -> list[int]:
    """How often the node below each `InitPlan` ran."""
    lines = plan.splitlines()
    nodes = [lines[number + 1] for number, line in enumerate(lines[:-1]) if line.lstrip().startswith("InitPlan")]
    return [int(loops) for loops in re.findall(r"loops=(\d+)", "\n".join(nodes))]


def prepare(database: Database) -> None:
    """Fills the second table; the first is `Environment.seed`'s."""
    database.psql(MESSAGES)


def found(database: Database, statement: Statement, claims: str) -> Found:
    """Runs a statement for `claims` and undoes it; its plan is that of a prepared statement that is in use for long.

    The superuser's session, because only he may count calls; the statement runs as `authenticated`.
    """
    answers = database.psql(_script(statement, claims)).split(_MARK)
    before, plan, after = (answer.strip() for answer in answers[-3:])
    return Found(statement, plan, int(after) - int(before))


_MARK = "--------"
# Not counted yet in a session that has not called it.
_CALLS = (
    "select coalesce(sum(calls), 0) from pg_stat_xact_user_functions where schemaname = 'auth' and funcname = 'user_id';"
)


def _script(statement: Statement, claims: str) -> str:
    opening = floor.OPEN.replace(":claims", floor.quote(claims)).replace(":seal", ":'seal'")
    arguments = f"({', '.join(statement.arguments)})" if statement.arguments else ""
    once = f"""
begin;
select bench.seal({floor.quote(claims)}) as seal \\gset
\\o /dev/null
{opening};
\\o
set local role authenticated;
set local plan_cache_mode = force_generic_plan;
prepare statement as {statement.sql};
\\echo {_MARK}
{_CALLS}
\\echo {_MARK}
explain (analyze, buffers, costs off, timing off, summary off) execute statement{arguments};
\\echo {_MARK}
{_CALLS}
rollback;
deallocate statement;
"""
    return "set track_functions = 'all';\n" + once * RUNS


def report(plans: list[Found], head: str) -> str:
    """The document."""
    parts = ["# Plans", "", head, ""]
    for one in plans:
        parts += [
            f"## {one.statement.title}", "", "```sql", one.statement.sql, "```", "", "```", _without_planning(one.plan),
            "```", "", f"`auth.user_id()` was called {_times(one.calls)}: {one.statement.because()}.", "",
        ]
    return "\n".join(parts)


def _times(calls: int) -> str:
    return {1: "once", 2: "twice"}.get(calls, f"{calls} times")


def _without_planning(plan: str) -> str:
    """Without the pages of the catalogue that planning read: they depend on what the session did before."""
    return re.sub(r"\n ?Planning:\n\s+Buffers: [^\n]*", "", plan)
