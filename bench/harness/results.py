"""bench/RESULTS.md and its chart, from the figures of `own`. No figure stands here; the words explain the method."""

from __future__ import annotations

from typing import Any

from . import chart
from .environment import ROWS, USERS
from .table import count, latency, mebibytes, micros, share, table
from .workloads import WORKLOADS

Figures = dict[str, Any]
SHOWN_CONNECTIONS = 16

METHOD = """## How to read it

- A request is one `POST /sql` with a token, as the serverless driver sends it. wrk keeps so many connections busy; the
  gateway has at most {pool} to the database. Load generator, gateway and PostgreSQL share the machine's cores.
- **Same statements**: pgbench sends what the gateway sends to PostgreSQL (the statement that brings the sealed claims,
  then the caller's), prepared, in one pipeline, over TCP, as the same role, over as many database connections as the
  gateway may use: the number of client connections, {pool} at most. It is what PostgreSQL itself can do with that work;
  **ratio** is what Rowgate reaches of it, with HTTP, tokens, seals and JSON.
- **Bare**: the statement without claims by a superuser, whom no policy binds, with `where user_id = …` written out: what
  a back end written by hand would send. The difference between the two is the price of deciding in the database.
- CPU is that of a whole process (all threads) or of the whole cluster (postmaster, every backend, background processes)
  for each request. Times of the load generator are in neither. Memory is the gateway's most in that run; one gateway
  serves all cells, so that it includes what earlier ones with more connections left behind.
- wrk corrects its percentiles for coordinated omission: a stall of one connection counts as every request that it kept
  from being sent. pgbench does not, and its percentiles are those of a sample of {sample}; the two are not to be compared.
- Before anything is measured each workload's answer is looked at, the gateway's and both of pgbench's: it must have the
  rows expected. A request that fails, under load, fails its whole cell.
- Rounds: gateway and pgbench take turns in each, every second one backwards; a figure is the median of {rounds} rounds of
  {seconds} s. Between the rounds of one cell the rate differed by {spread} (median over all cells; {worst} at most).
- Insertion: rows are removed and the table vacuumed after every run, so that it does not grow from cell to cell. Inserted
  rows are durable (`fsync` is on), for all three alike.
"""


def results(found: Figures) -> str:
    """The whole of RESULTS.md."""
    return "\n\n".join([
        "# Results",
        head(found),
        "![Throughput by workload and by connections](results.svg)",
        "## Share of the floor\n\nRowgate's requests a second, of what pgbench reaches with the same statements.\n\n"
        + ratios(found),
        "## By workload",
        *(workload_section(found, name) for name in names(found)),
        "## Tokens\n\n" + tokens_section(found),
        "## Memory, start, size\n\n" + footprint(found),
        METHOD.format(
            pool=found["pool"], sample="a tenth", rounds=found["rounds"], seconds=found["seconds"], **spreads(found)
        ).strip(),
    ]) + "\n"


def head(found: Figures) -> str:
    """Where, of what and when."""
    return (
        f"Written by `bench/run` ([how to run it](README.md)) on {found['date']}: {found['machine_sentence']}; PostgreSQL "
        f"{found['postgres']}; load average before it began {found['load_before']:.2f}. {count(ROWS)} rows of "
        f"{count(USERS)} users."
    )


def spreads(found: Figures) -> dict[str, str]:
    """How far rounds lie apart, as shares of the median rate."""
    values = sorted(cell["spread"] for cell in found["cells"] + found["floors"] if "spread" in cell)
    return {"spread": share(values[len(values) // 2]), "worst": share(values[-1])} if values else {"spread": "–", "worst": "–"}


def names(found: Figures) -> list[str]:
    """The workloads that were measured."""
    return [workload.name for workload in WORKLOADS if any(cell["workload"] == workload.name for cell in found["cells"])]


def title(name: str) -> str:
    """A workload's title."""
    return next(workload.title for workload in WORKLOADS if workload.name == name)


def connections_of(found: Figures) -> list[int]:
    """The numbers of connections that were measured."""
    return sorted({cell["connections"] for cell in found["cells"]})


def cell_of(found: Figures, name: str, connections: int) -> Figures:
    """A workload's figures at a number of connections."""
    return next(c for c in found["cells"] if c["workload"] == name and c["connections"] == connections)


def floor_of(found: Figures, name: str, connections: int, bare: bool) -> Figures:
    """pgbench's figures beside that cell."""
    clients = min(connections, found["pool"])
    return next(
        f for f in found["floors"] if f["workload"] == name and f["clients"] == clients and f["bare"] == bare
    )


def ratio(found: Figures, name: str, connections: int, bare: bool = False) -> float | None:
    """Of the floor's rate; None if the cell failed."""
    cell = cell_of(found, name, connections)
    return None if "reason" in cell else cell["rate"] / floor_of(found, name, connections, bare)["rate"]


def ratios(found: Figures) -> str:
    """The ratio to the floor of each cell."""
    connections = connections_of(found)
    rows = [
        [title(name)] + ["failed" if (r := ratio(found, name, c)) is None else share(r) for c in connections]
        for name in names(found)
    ]
    return table(["connections", *(count(c) for c in connections)], rows, left=1)


def workload_section(found: Figures, name: str) -> str:
    """Everything about one workload."""
    rows = [workload_row(found, name, connections) for connections in connections_of(found)]
    columns = [
        "connections", "req/s", "p50", "p99", "p99.9", "gateway CPU", "PostgreSQL CPU", "memory",
        "same statements", "p99", "PostgreSQL CPU", "ratio", "bare", "PostgreSQL CPU", "ratio",
    ]
    statements = next(workload.statements for workload in WORKLOADS if workload.name == name)
    sql = "\n".join(f"{statement.numbered()};" for statement in statements)
    return f"### {title(name)}\n\n```sql\n{sql}\n```\n\n{table(columns, rows)}"


def workload_row(found: Figures, name: str, connections: int) -> list[str]:
    """One cell beside its floors."""
    cell = cell_of(found, name, connections)
    same, bare = (floor_of(found, name, connections, kind) for kind in (False, True))
    if "reason" in cell:
        own = ["**failed**: " + cell["reason"]] + [""] * 6
        shares = ["–", "–"]
    else:
        own = [
            count(cell["rate"]), *(latency(cell[p]) for p in ("p50", "p99", "p999")),
            micros(cell["gateway_cpu"]), micros(cell["database_cpu"]), mebibytes(cell["resident"]),
        ]
        shares = [share(cell["rate"] / same["rate"]), share(cell["rate"] / bare["rate"])]
    return [
        count(connections), *own,
        f"{count(same['rate'])}/s", latency(same["p99"]), micros(same["database_cpu"]), shares[0],
        f"{count(bare['rate'])}/s", micros(bare["database_cpu"]), shares[1],
    ]


def tokens_section(found: Figures) -> str:
    """Many tokens in rotation."""
    if not found["tokens"]:
        return "Not measured: signing them needs node."
    rows = []
    for entry in found["tokens"]:
        if "reason" in entry:
            rows.append([entry["algorithm"], count(entry["tokens"]), "**failed**: " + entry["reason"]] + [""] * 6)
            continue
        rows.append([
            entry["algorithm"], count(entry["tokens"]), count(entry["rate"]), latency(entry["p50"]),
            latency(entry["p99"]), latency(entry["p999"]), micros(entry["gateway_cpu"]),
            micros(entry["database_cpu"]), mebibytes(entry["resident"]), count(entry["verified"]),
        ])
    columns = ["", "tokens in rotation", "req/s", "p50", "p99", "p99.9", "gateway CPU", "PostgreSQL CPU", "memory",
               "signatures verified"]
    return (
        f"Select of ten rows over {SHOWN_CONNECTIONS} connections, with so many tokens of {count(USERS)} users in "
        "rotation, all of which the gateway has seen before. The last column counts verifications in all rounds together: "
        "a remembered token is not verified again. [TOKENS.md](TOKENS.md) has what one verification costs.\n\n"
        + table(columns, rows, left=1)
    )


def footprint(found: Figures) -> str:
    """Memory, start-up time, size of the program."""
    start, memory = found["start"], found["memory"]
    rows = [["idle", mebibytes(memory["idle"])]]
    rows += [[f"{count(int(n))} connection{'s' if int(n) > 1 else ''}, busy", mebibytes(peak)] for n, peak in memory["connections"].items()]
    return (
        f"Resident memory of a gateway that has just started, then the most at rising numbers of connections (select of "
        f"ten rows):\n\n{table(['', 'memory'], rows, left=1)}\n\n"
        f"From the start of `rowgate serve` until it answers that it is ready, with the database and the issuer there: "
        f"{start['median_ms']:.0f} ms (median of {start['runs']}, {start['least_ms']:.0f} to {start['most_ms']:.0f}). "
        f"Size of the program: {found['binary_bytes'] / 1e6:.1f} MB."
    )


def drawing(found: Figures) -> str:
    """results.svg: bars at one number of connections, and lines over all of them."""
    shown = SHOWN_CONNECTIONS if SHOWN_CONNECTIONS in connections_of(found) else connections_of(found)[-1]
    measured = [name for name in names(found) if ratio(found, name, shown) is not None]
    bars_height = 56 * len(measured)
    page = chart.Drawing(1000, bars_height + 470, "Throughput of Rowgate beside PostgreSQL itself")
    own, same, bare = chart.COLOURS[0], chart.COLOURS[5], "#b9bec6"
    chart.bars(
        page, chart.Box(190, 70, 640, bars_height), f"Requests a second at {shown} connections",
        [bar_group(found, name, shown, (own, same, bare)) for name in measured],
    )
    chart.legend(
        page, 182, 40, [("Rowgate", own), ("pgbench, same statements", same), ("pgbench, bare, no claims", bare)], 200
    )
    below = bars_height + 150
    for left, heading, value, tick in (
        (70, "Requests a second", lambda n, c: cell_of(found, n, c)["rate"], chart.short),
        (560, "Share of the floor", lambda n, c: ratio(found, n, c), lambda share_: f"{100 * share_:.0f} %"),
    ):
        chart.lines(page, chart.Box(left, below, 290, 240), heading, "connections", [
            chart.Line(short_title(name), [
                (c, value(name, c)) for c in connections_of(found) if ratio(found, name, c) is not None
            ], chart.COLOURS[index % len(chart.COLOURS)])
            for index, name in enumerate(measured)
        ], tick)
    return page.svg()


def bar_group(found: Figures, name: str, connections: int, colours: tuple[str, str, str]) -> chart.Bars:
    """Rowgate and both floors."""
    rate = cell_of(found, name, connections)["rate"]
    same, bare = (floor_of(found, name, connections, kind)["rate"] for kind in (False, True))
    own, grey, light = colours
    return chart.Bars(short_title(name), [
        (rate, f"{count(rate)} ({share(rate / same)} of the floor)", own), (same, count(same), grey),
        (bare, count(bare), light),
    ])


def short_title(name: str) -> str:
    """For charts."""
    return {"batch_3": "batch of 3", "user_id": "auth.user_id()", "select_key": "select by key"}.get(name, title(name))
