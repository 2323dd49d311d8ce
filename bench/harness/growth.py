"""What `bench/growth` measures: the cost of a request as one thing grows and everything else stays as it is."""

from __future__ import annotations

import datetime
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from . import issuer, load, measure, process
from .environment import Environment, Gateway
from .workloads import USER, Request

TABLES = Path(__file__).with_name("growth.sql")
BUSY = 16
LONGEST_ANSWER = 10_000
TEN_ROWS = "select id, task, is_complete from {table} order by id limit {rows}"


@dataclass(frozen=True)
class Point:
    """A value of what grows: what is asked then, over how many connections, and how many rows must come of it."""

    x: int
    gateway: Gateway
    target: load.Target
    rows: int = 10
    connections: int = BUSY
    # What came before may have displaced what this one needs: it has a run of its own before each that counts.
    refilled: bool = False


@dataclass(frozen=True)
class Dimension:
    """One thing that grows: its name, and its points, made once gateway and tables are there."""

    name: str
    values: tuple[int, ...]
    points: Callable[[Ground, tuple[int, ...]], list[Point]]


@dataclass(frozen=True)
class Extent:
    """How long is measured."""

    rounds: int
    seconds: int


@dataclass
class Ground:
    """What points are made of."""

    environment: Environment
    gateway: Gateway
    token: str

    def select(self, table: str = "todos", rows: int = 10, where: str = "") -> load.Target:
        """The select of `rows` rows of the caller's."""
        sql = TEN_ROWS.format(table=f"{table} {where}".strip(), rows=rows)
        return load.Target(
            self.gateway.url, Request(body=json.dumps({"query": sql, "params": []})), token=self.token
        )


def by_users(ground: Ground, values: tuple[int, ...]) -> list[Point]:
    """Tables of a hundred rows of each user."""
    return [Point(x, ground.gateway, ground.select(f"users_{x}")) for x in values]


def by_policies(ground: Ground, values: tuple[int, ...]) -> list[Point]:
    """Tables with so many permissive policies for the same command and role."""
    return [Point(x, ground.gateway, ground.select(f"policies_{x}")) for x in values]


def by_rows(ground: Ground, values: tuple[int, ...]) -> list[Point]:
    """Answers of so many rows."""
    return [Point(x, ground.gateway, ground.select("many_rows", x), rows=x) for x in values]


def by_connections(ground: Ground, values: tuple[int, ...]) -> list[Point]:
    """So many clients."""
    return [Point(x, ground.gateway, ground.select(), connections=x) for x in values]


def by_texts(ground: Ground, values: tuple[int, ...]) -> list[Point]:
    """So many different texts of one statement in rotation, as if somebody wrote values into them."""
    varied = ground.select(where="where id > -%N")
    return [Point(x, ground.gateway, replace(varied, texts=x)) for x in values]


def by_tokens(ground: Ground, values: tuple[int, ...]) -> list[Point]:
    """So many tokens in rotation, at a gateway of their own that believes their issuer."""
    source = issuer.start(ground.environment, max(values), ("ES256",))
    gateway = ground.environment.gateway(source.settings())
    request = ground.select().request
    return [
        Point(x, gateway, load.Target(gateway.url, request, tokens=source.tokens("ES256", x)), refilled=True)
        for x in values
    ]


DIMENSIONS = (
    Dimension("users", (10, 100, 1_000, 10_000), by_users),
    Dimension("tokens", (1, 100, 1_000, 10_000, 40_000), by_tokens),
    Dimension("connections", (1, 4, 16, 64, 256, 1_000), by_connections),
    Dimension("rows", (1, 10, 100, 1_000, LONGEST_ANSWER), by_rows),
    Dimension("policies", (1, 5, 20, 50, 100, 200), by_policies),
    Dimension("texts", (1, 16, 256, 1_000, 3_000, 10_000), by_texts),
)


def measured(binary: Path, extent: Extent, dimensions: tuple[Dimension, ...]) -> dict[str, Any]:
    """Runs these; the answer is plain data by name, fit for JSON."""
    with Environment(binary) as environment:
        environment.seed()
        make_tables(environment)
        ground = Ground(environment, environment.gateway(), environment.token(USER))
        return {
            dimension.name: {
                "machine_sentence": process.machine().sentence(), "postgres": environment.database.version(),
                "rounds": extent.rounds, "seconds": extent.seconds,
                "points": grown(ground, dimension, extent),
                "date": datetime.datetime.now(datetime.UTC).strftime("%F %H:%M UTC"),
            }
            for dimension in dimensions
        }


def make_tables(environment: Environment) -> None:
    """Tables of every size that a dimension asks for."""
    values = {dimension.name: ",".join(str(x) for x in dimension.values) for dimension in DIMENSIONS}
    environment.database.psql(
        TABLES.read_text(), users=values["users"], policies=values["policies"], rows=str(LONGEST_ANSWER)
    )


def grown(ground: Ground, dimension: Dimension, extent: Extent) -> list[dict[str, Any]]:
    """Every point of a dimension in each round, every second one backwards."""
    points = dimension.points(ground, dimension.values)
    busy: dict[int, measure.Series] = defaultdict(list)
    alone: dict[int, measure.Series] = defaultdict(list)
    for point in points:
        load.check(point.target, point.rows)
        # Caches are filled as far as they will be.
        measure.of_server(point.target, point.connections, extent.seconds)
    for number in range(extent.rounds):
        measure.say(f"{dimension.name}: round {number + 1} of {extent.rounds}")
        for point in reversed(points) if number % 2 else points:
            cluster = ground.environment.database.cluster
            if point.refilled:
                measure.of_server(point.target, point.connections, extent.seconds)
            sample = measure.of_server(
                point.target, point.connections, extent.seconds, point.gateway.pid, cluster
            )
            busy[point.x].append(sample)
            alone[point.x].append(measure.of_server(point.target, 1, 1))
    return [
        {"x": point.x, "busy": asdict(measure.median(busy[point.x])), "alone": asdict(measure.median(alone[point.x]))}
        for point in points
    ]
