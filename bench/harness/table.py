"""Markdown tables and the way figures are written in them."""

from __future__ import annotations

from collections.abc import Sequence

LEFT, RIGHT = "---", "---:"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 0) -> str:
    """A Markdown table. The first `left` columns are texts, the others figures."""
    rule = [LEFT if column < left else RIGHT for column in range(len(head))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *rows])


def count(value: float) -> str:
    """A whole number, with commas between thousands."""
    return f"{value:,.0f}"


def micros(value: float | None) -> str:
    """Microseconds of CPU time."""
    return "–" if value is None else f"{value:.1f} µs" if value < 1000 else f"{value:,.0f} µs"


def latency(value: float) -> str:
    """A latency that is given in microseconds."""
    return f"{value / 1000:.2f} ms" if value < 10_000 else f"{value / 1000:.1f} ms" if value < 100_000 else f"{value / 1000:.0f} ms"


def share(value: float) -> str:
    """A ratio in per cent."""
    return f"{100 * value:.0f} %"


def mebibytes(value: float | None) -> str:
    """A size that is given in bytes."""
    return "–" if value is None else f"{value / 2**20:.1f} MiB"
