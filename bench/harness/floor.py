"""What PostgreSQL itself can do: pgbench with the very statements that a gateway sends, over the same kind of socket."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .environment import Database, EnvironmentFailure, Login
from .workloads import PARAMETERS, Workload

# A seal is good for half a minute; each client takes a new one after this many transactions.
SEALED_TRANSACTIONS = 1000
# Every transaction in the log would be work of its own; so many a second are enough for a 99.9th percentile.
LOGGED_SHARE = 0.1

OPEN = (
    "select pg_catalog.set_config('request.jwt.claims', :claims, true) is null, "
    "pg_catalog.set_config('rowgate.seal', :seal, true) is null"
)
SEAL = f"""\\set n :n + 1
\\if :n >= {SEALED_TRANSACTIONS}
select bench.seal(:claims) as seal \\gset
\\set n 0
\\endif
"""


@dataclass(frozen=True)
class Floor:
    """What a run of pgbench found. Latencies in microseconds, of a sample."""

    requests: int
    rate: float
    p50: int
    p99: int
    p999: int


def script(workload: Workload, bare: bool) -> str:
    """One transaction: everything in one pipeline, prepared.

    As the gateway sends it, or `bare`: without claims, in a session that no policy holds for.
    """
    opening = [] if bare else [OPEN]
    lines = [f"{sql};" for sql in opening + workload.sql(bare)]
    pipeline = "\n".join(["\\startpipeline", *lines, "\\endpipeline", ""])
    return pipeline if bare else SEAL + pipeline


def check(database: Database, workload: Workload, claims: str, bare: bool) -> None:
    """Runs the transaction's statements once and undoes them; raises EnvironmentFailure if rows are missing."""
    # psql puts a variable's text in, where pgbench passes a parameter: hence the quotes.
    quoted = {name: quote(value) for name, value in {**PARAMETERS, "claims": claims}.items()}
    open_sealed = OPEN.replace(":seal", ":'seal'")
    sealed = f"select bench.seal(:claims) as seal \\gset\n{open_sealed};"
    opening = "" if bare else f"\\o /dev/null\n{sealed}\n\\o\n"
    statements = "\n".join(f"{statement};" for statement in workload.sql(bare))
    found = database.psql(f"begin;\n{opening}{statements}\nrollback;\n", login(database, bare), **quoted)
    rows = len(found.splitlines())
    if rows != workload.rows:
        kind = "bare" if bare else "same statements"
        raise EnvironmentFailure(f"{workload.name}, {kind}: {rows} rows, not {workload.rows}")


def login(database: Database, bare: bool) -> Login:
    """Who sends it."""
    return database.superuser if bare else database.authenticated


def quote(text: str) -> str:
    """An SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def run(database: Database, workload: Workload, clients: int, seconds: int, claims: str, bare: bool) -> Floor:
    """Keeps so many connections busy for so long. Raises EnvironmentFailure if a transaction failed."""
    who = login(database, bare)
    with tempfile.TemporaryDirectory(prefix="rowgate-floor-") as directory:
        at = Path(directory)
        (at / "transaction.sql").write_text(script(workload, bare))
        command = [
            "pgbench", "-n", "-M", "prepared", "-f", "transaction.sql", "-c", str(clients), "-j", str(min(clients, 2)),
            "-T", str(seconds), "-l", "--log-prefix=log", f"--sampling-rate={LOGGED_SHARE}",
            "-D", f"n={SEALED_TRANSACTIONS}", "-D", "seal=none", "-D", f"claims={claims}",
        ]
        for name, value in PARAMETERS.items():
            command += ["-D", f"{name}={value}"]
        done = subprocess.run(
            [*command, who.url], capture_output=True, text=True, env=who.environ(), cwd=at, check=False
        )
        rate = re.search(r"^tps = ([\d.]+)", done.stdout, re.MULTILINE)
        count = re.search(r"^number of transactions actually processed: (\d+)", done.stdout, re.MULTILINE)
        if done.returncode != 0 or rate is None or count is None:
            raise EnvironmentFailure(f"pgbench, {workload.name}: {done.stderr.strip()[-1000:]}")
        latencies = sorted(
            int(line.split()[2]) for log in at.glob("log.*") for line in log.read_text().splitlines()
        )
    return Floor(int(count[1]), float(rate[1]), *(percentile(latencies, share) for share in (0.5, 0.99, 0.999)))


def percentile(ordered: list[int], share: float) -> int:
    """The value below which this share of the values lies; 0 if there are none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0
