"""bench/GROWTH.md and its chart, from the figures of `growth`. No figure stands here; the words explain mechanisms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import chart
from .table import count, latency, mebibytes, micros, share, table

Figures = dict[str, Any]


@dataclass(frozen=True)
class Words:
    """What a dimension is called, and why its line is as steep as it is."""

    title: str
    x_title: str
    why: str


WORDS = {
    "users": Words(
        "Users", "users with a hundred rows each",
        "The policy compares `user_id` with one value for the whole statement, and the index on `(user_id, id)` has that "
        "user's rows beside each other in the order asked for. More users make the index deeper, by a page each time "
        "there are some hundred times as many, and the table larger than what stays in the processor's caches.",
    ),
    "tokens": Words(
        "Tokens", "distinct tokens in rotation",
        "The tokens are of 1,000 users in turn, so that PostgreSQL, too, reads other rows each time. "
        "A remembered token is found by a keyed hash; how many there are changes only what stays in the processor's "
        "caches. `auth.token_cache_entries` (20,000 by default) and `auth.token_cache_bytes` bound the memory. Beyond "
        "that, tokens that come in rotation displace each other: a growing part of them is verified again each time, and "
        "the line rises by the cost of a signature ([TOKENS.md](TOKENS.md)), up to where all of them are.",
    ),
    "connections": Words(
        "Client connections", "client connections",
        "With one connection everybody sleeps between any two steps, and waking up costs more than the work. Busy "
        "connections share such wake-ups: one look at the sockets finds several requests. Beyond the size of the database "
        "pool requests wait in the gateway, which costs it nothing while they do; latency then rises with their number, "
        "as it must where the rate stays the same.",
    ),
    "rows": Words(
        "Rows of an answer", "rows of the answer",
        "Each row costs what it takes to copy it once and to look for characters to escape; nothing is kept of it. A "
        "request's own cost is shared by its rows, so that a row of a long answer is much cheaper than one of a short one. "
        "An answer longer than `limits.stream_threshold` is sent while its rows arrive, in pieces of that size.",
    ),
    "policies": Words(
        "Policies for one table", "permissive policies for the same command",
        "PostgreSQL joins permissive policies with OR. Those measured here say whose row it is, and one thing more that "
        "differs. It takes what all of them share out of the OR (`canonicalize_qual`), so that the index still finds the "
        "rows and the caller is asked for once; what differs is made ready anew for each execution, which is the slope. "
        "Policies that share nothing are another matter: one that looks at a claim only takes the index away from all the "
        "others, and `rowgate policies lint` warns of what such sets cost. The gateway knows nothing of policies, and its "
        "own cost does not change.",
    ),
    "texts": Words(
        "Distinct statement texts", "distinct texts in rotation",
        "A text that comes again on the same connection is kept prepared there, up to 256 of them. Where more than that come "
        "in rotation, each has made way for others when its turn comes, and is parsed and planned anew by PostgreSQL: "
        "that is the bend, and parameters (`$1`) in place of written values avoid it. The gateway reads a text with "
        "PostgreSQL's grammar when it sees it for the first time and remembers some 16,000 verdicts, so that its own cost "
        "grows only by what it takes to send the longer messages and to read the description of the columns each time.",
    ),
}


def report(found: Figures) -> str:
    """The whole of GROWTH.md."""
    return "\n\n".join([
        "# Growth",
        "Written by `bench/growth` ([how to run it](README.md)). A request selects ten of the caller's rows unless it says "
        "otherwise, over 16 connections unless these are what grows. One thing grows at a time. Figures are medians of "
        "rounds taken in turn, after a run that fills the caches; those of one connection are of 1 s each. CPU is that of "
        "whole processes, for each request.",
        "![CPU time of a request as one thing grows](growth.svg)",
        *(section(name, found[name]) for name in WORDS if name in found),
    ]) + "\n"


def section(name: str, found: Figures) -> str:
    """One dimension."""
    words, points = WORDS[name], found["points"]
    head = [words.x_title, "req/s", "p99", "gateway CPU", "PostgreSQL CPU", "memory", "one connection: p50",
            "gateway CPU to the first"]
    how = (
        f"*{found['rounds']} rounds of {found['seconds']} s, {found['date']}: {found['machine_sentence']}; PostgreSQL "
        f"{found['postgres']}.*"
    )
    rows = table(head, [row(point, points[0]) for point in points])
    return f"## {words.title}\n\n{rows}\n\n{words.why}\n\n{how}"


def row(point: Figures, first: Figures) -> list[str]:
    """One point."""
    busy, alone = point["busy"], point["alone"]
    failed = busy.get("reason") or alone.get("reason")
    if failed:
        return [count(point["x"]), f"**failed**: {failed}"] + [""] * 6
    to_first = busy["gateway_cpu"] / first["busy"]["gateway_cpu"] if "gateway_cpu" in first["busy"] else None
    return [
        count(point["x"]), count(busy["rate"]), latency(busy["p99"]), micros(busy["gateway_cpu"]),
        micros(busy["database_cpu"]), mebibytes(busy["resident"]), latency(alone["p50"]),
        "–" if to_first is None else share(to_first),
    ]


def drawing(found: Figures) -> str:
    """growth.svg: a chart for each dimension, two beside each other."""
    dimensions = [(name, found[name]["points"]) for name in WORDS if name in found]
    height = 330
    page = chart.Drawing(1060, 60 + height * -(-len(dimensions) // 2), "CPU time of a request as one thing grows")
    for index, (name, points) in enumerate(dimensions):
        box = chart.Box(70 + 530 * (index % 2), 60 + height * (index // 2), 340, 220)
        good = [point for point in points if "reason" not in point["busy"]]
        if len(good) < 2:
            continue
        chart.lines(page, box, f"{WORDS[name].title}: µs of CPU", WORDS[name].x_title, [
            chart.Line("gateway", [(p["x"], p["busy"]["gateway_cpu"]) for p in good], chart.COLOURS[0]),
            chart.Line("PostgreSQL", [(p["x"], p["busy"]["database_cpu"]) for p in good], chart.COLOURS[1]),
        ])
    return page.svg()
