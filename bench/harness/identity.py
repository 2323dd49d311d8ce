"""What it costs PostgreSQL to know who is asking: the opening statement, auth.user_id(), and what was tried on both.

Everything is measured on one cluster in one run: a step is a pgbench script, and steps take turns.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median

from . import floor, variants
from .environment import Database, EnvironmentFailure
from .workloads import BY_KEY, INSERT, PARAMETERS, select

CLIENTS = 8
# Of each connection before its costs count: logging in, and calls of a function whose plan is not settled yet
# (choose_custom_plan() in plancache.c: the sixth is the first that may be generic).
WARM_TRANSACTIONS = 20

# As gateways set it at the start of a connection (database.search_path): looking up "$user" for each change of user,
# as PostgreSQL's default asks for, would be a part of what is measured.
SESSION = "-c search_path=public"

CLAIMS_ONLY = "select pg_catalog.set_config('request.jwt.claims', :claims, true) is null"
ONE_SETTING = "select pg_catalog.set_config('rowgate.seal', :seal || :claims, true) is null"
# No row is returned: the first is never null, the second never either.
NO_ROW = (
    "select where pg_catalog.set_config('request.jwt.claims', :claims, true) is not null "
    "and pg_catalog.set_config('rowgate.seal', :seal, true) is null"
)
WHOLE_TEXT = (
    "select pg_catalog.set_config('request.jwt.claims', :claims, true), "
    "pg_catalog.set_config('rowgate.seal', :seal, true)"
)


@dataclass(frozen=True)
class Step:
    """One transaction: statements in one pipeline."""

    name: str
    title: str
    statements: tuple[str, ...]
    # Compared with this one; the difference is what the step adds.
    base: str | None = None
    # A new connection for each transaction.
    reconnect: bool = False


@dataclass
class Series:
    """Its rounds: µs of CPU of the whole cluster for each transaction, and transactions a second."""

    cpu: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)


# Scratch objects. Tables are the sample's with one thing changed. (`bench` and bench.seal() are there.)
SCRATCH = """
create function bench.plain_user_id() returns text language plpgsql stable parallel restricted as $$
begin
  return pg_catalog.current_setting('request.jwt.claims', true)::pg_catalog.jsonb operator(pg_catalog.->>) 'sub';
end $$;
alter table auth.seal_keys add column infix text collate "C" generated always as ('.' || kid || '.') stored;
analyze auth.seal_keys;
do $make$
declare
  made record;
begin
  for made in
    select * from (values ('plain', 'bench.plain_user_id()', '(user_id, id)'),
                          ('by_user', 'auth.user_id()', '(user_id)')) as tables (name, identity, index)
  loop
    execute format('create table bench.%I (like public.todos including defaults including identity)', made.name);
    execute format('insert into bench.%I select * from public.todos', made.name);
    execute format('select setval(pg_get_serial_sequence(%L, %L), 1000000)', 'bench.' || made.name, 'id');
    execute format('alter table bench.%I add primary key (id)', made.name);
    execute format('create index on bench.%I %s', made.name, made.index);
    execute format('alter table bench.%I enable row level security', made.name);
    execute format('create policy own on bench.%I to authenticated using ((select %s) = user_id) '
                   'with check ((select %2$s) = user_id)', made.name, made.identity);
    execute format('grant select, insert on bench.%I to authenticated', made.name);
  end loop;
end $make$;
-- No policy at all.
create table bench.bare (like public.todos including all);
insert into bench.bare select * from public.todos;
grant select on bench.bare to authenticated;
grant execute on all functions in schema bench to authenticated;
"""
ANALYZE = "vacuum analyze bench.plain; vacuum analyze bench.by_user; vacuum analyze bench.bare;"


def steps() -> tuple[Step, ...]:
    """All that is measured."""
    ten, hundred = select(10), select(100)

    def on(table: str, statement: str) -> str:
        return re.sub(r"\btodos\b", f"bench.{table}", statement)

    who = "select auth.user_id()"
    return (
        Step("one", "`select 1`", ("select 1",)),
        Step("two", "`select 1` twice", ("select 1", "select 1"), base="one"),
        Step("open", "opening statement, `select 1`", (floor.OPEN, "select 1"), base="one"),
        Step("open_claims", "one `set_config` in place of two", (CLAIMS_ONLY, "select 1"), base="one"),
        Step("open_one", "claims and seal in one setting", (ONE_SETTING, "select 1"), base="one"),
        Step("open_text", "returns the settings, not two booleans", (WHOLE_TEXT, "select 1"), base="one"),
        Step("open_no_row", "returns no row: `select where … and …`", (NO_ROW, "select 1"), base="one"),
        Step("plain", "plain setting", (floor.OPEN, "select bench.plain_user_id()"), base="open"),
        Step("user_id", "`auth.user_id()`", (floor.OPEN, who), base="open"),
        Step("session", "`auth.session()`", (floor.OPEN, "select auth.session()"), base="open"),
        Step("user_id_2", "`auth.user_id()` in a second statement", (floor.OPEN, who, who), base="user_id"),
        *(
            Step(f"variant_{variant.name}", variant.title, (floor.OPEN, f"select bench.{variant.name}()"), base="open")
            for variant in variants.VARIANTS
        ),
        *(
            Step(f"part_{name}", title, (floor.OPEN, f"select bench.{name}()"), base="open")
            for name, (title, _) in variants.PARTS.items()
        ),
        Step("first_open", "", (floor.OPEN, "select 1"), reconnect=True),
        Step("first_1", "its first call", (floor.OPEN, who), base="first_open", reconnect=True),
        Step("first_6", "its first six calls", (floor.OPEN, *[who] * 6), base="first_open", reconnect=True),
        Step("bare_10", "select, no policy", (on("bare", ten.bare),)),
        Step("opened_10", "+ opening statement", (floor.OPEN, on("bare", ten.bare)), base="bare_10"),
        Step("plain_10", "+ policy, plain setting", (floor.OPEN, on("plain", ten.sql)), base="bare_10"),
        Step("sealed_10", "+ policy, sealed claims", (floor.OPEN, ten.sql), base="bare_10"),
        Step("by_user_10", "10 rows", (floor.OPEN, on("by_user", ten.sql)), base="sealed_10"),
        Step("sealed_100", "100 rows", (floor.OPEN, hundred.sql)),
        Step("by_user_100", "100 rows", (floor.OPEN, on("by_user", hundred.sql)), base="sealed_100"),
        Step("sealed_key", "1 row by key", (floor.OPEN, BY_KEY.sql)),
        Step("by_user_key", "1 row by key", (floor.OPEN, on("by_user", BY_KEY.sql)), base="sealed_key"),
        Step("sealed_insert", "insert returning", (floor.OPEN, INSERT.sql)),
        Step("by_user_insert", "insert returning", (floor.OPEN, on("by_user", INSERT.sql)), base="sealed_insert"),
    )


def make(database: Database, claims: str) -> None:
    """Scratch tables and functions."""
    database.psql(SCRATCH)
    database.psql(ANALYZE)
    variants.make(database, claims)


def measured(
    database: Database, claims: str, which: Sequence[Step], rounds: int, seconds: float
) -> dict[str, Series]:
    """Each step once in each round, so long, in an order that differs: none always follows the same one."""
    series = {step.name: Series() for step in which}
    for number in range(rounds):
        for step in Random(number).sample(which, len(which)):
            cpu, rate = _round(database, claims, step, seconds)
            series[step.name].cpu.append(cpu)
            series[step.name].rate.append(rate)
            if step.name.endswith("_insert"):
                database.psql("delete from todos where id > 100000; delete from bench.by_user where id > 1000000;"
                              "vacuum todos; vacuum bench.by_user")
    return series


def _round(database: Database, claims: str, step: Step, seconds: float) -> tuple[float, float]:
    """CPU for each transaction and transactions a second, once connections are made and plans are settled."""
    if step.reconnect:
        count, cpu, rate = _pgbench(database, claims, step, ["-C", "-T", _whole(seconds)])
        return cpu / count, rate
    few, few_cpu, _ = _pgbench(database, claims, step, ["-t", str(WARM_TRANSACTIONS)])
    many, many_cpu, rate = _pgbench(database, claims, step, ["-T", _whole(seconds)])
    return (many_cpu - few_cpu) / (many - few), rate


def _whole(seconds: float) -> str:
    return str(max(1, round(seconds)))


def _pgbench(database: Database, claims: str, step: Step, extent: list[str]) -> tuple[int, int, float]:
    """How many transactions, how much CPU of the cluster, how many a second without connecting."""
    who = database.authenticated
    lines = [f"{statement};" for statement in step.statements]
    # A new connection is a new backend, for which no earlier seal is good.
    seal = "select bench.seal(:claims) as seal \\gset\n" if step.reconnect else floor.SEAL
    text = seal + "\n".join(["\\startpipeline", *lines, "\\endpipeline", ""])
    with tempfile.TemporaryDirectory(prefix="rowgate-identity-") as directory:
        script = Path(directory) / "transaction.sql"
        script.write_text(text)
        command = ["pgbench", "-n", "-M", "prepared", "-f", str(script), "-c", str(CLIENTS), "-j", "2", *extent]
        variables = {"n": str(floor.SEALED_TRANSACTIONS), "seal": "none", "claims": claims, **PARAMETERS}
        for name, value in variables.items():
            command += ["-D", f"{name}={value}"]
        before = database.cluster.cpu_us()
        env = who.environ()
        env["PGOPTIONS"] += f" {SESSION}"
        done = subprocess.run([*command, who.url], capture_output=True, text=True, env=env, check=False)
        after = database.cluster.cpu_us()
    rate = re.search(r"^tps = ([\d.]+)", done.stdout, re.MULTILINE)
    count = re.search(r"^number of transactions actually processed: (\d+)", done.stdout, re.MULTILINE)
    if done.returncode != 0 or rate is None or count is None:
        raise EnvironmentFailure(f"pgbench, {step.name}: {done.stderr.strip()[-1000:]}")
    return int(count[1]), after - before, float(rate[1])


@dataclass(frozen=True)
class Cost:
    """A step's medians."""

    cpu: float
    spread: float
    rate: float

    @classmethod
    def of(cls, series: Series) -> Cost:
        """`spread`: half of the distance between the extremes."""
        return cls(median(series.cpu), (max(series.cpu) - min(series.cpu)) / 2, median(series.rate))


def saved(before: Series, after: Series) -> tuple[float, float]:
    """µs of CPU that `after` saves: the median of the rounds' differences, and half of the distance of their extremes."""
    differences = [old - new for old, new in zip(before.cpu, after.cpu, strict=True)]
    return median(differences), (max(differences) - min(differences)) / 2
