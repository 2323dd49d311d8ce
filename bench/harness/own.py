"""The measurements of `bench/run`: Rowgate beside PostgreSQL itself. Gathers figures; `results` writes them down."""

from __future__ import annotations

import datetime
import http.client
import statistics
import subprocess
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import floor, issuer, load, measure, process
from .environment import POOL, SQL, Environment, EnvironmentFailure, Gateway, free_port, stop
from .workloads import USER, WORKLOADS, Workload

TOKENS = (1, 1_000, 10_000)
ALGORITHMS = ("RS256", "ES256")
TOKEN_CONNECTIONS = 16
STARTS = 10
# Runs of two seconds in which every token must have been seen.
SEEING_RUNS = 20
# Long enough for every allocation of the start to have been made or given back.
IDLE_SECONDS = 2


@dataclass(frozen=True)
class Extent:
    """How much is measured."""

    workloads: tuple[Workload, ...]
    connections: tuple[int, ...]
    tokens: tuple[int, ...]
    rounds: int
    seconds: int
    starts: int = STARTS


def measured(binary: Path, extent: Extent) -> dict[str, Any]:
    """Runs everything; the answer is plain data, fit for JSON."""
    machine = process.machine()
    load_before = process.load_average()
    with Environment(binary, SQL) as environment:
        measure.say(f"load average {load_before:.2f}; environment in {environment.directory}")
        environment.seed()
        begun = start_up(environment, extent.starts)
        memory = memory_by_connections(environment, extent)
        cells, floors = by_connections(environment, extent)
        tokens = by_tokens(environment, extent) if issuer.available() and extent.tokens else []
        return {
            "date": datetime.datetime.now(datetime.UTC).strftime("%F %H:%M UTC"),
            "machine": asdict(machine), "machine_sentence": machine.sentence(), "load_before": load_before,
            "postgres": environment.database.version(), "pool": POOL,
            "rounds": extent.rounds, "seconds": extent.seconds,
            "binary_bytes": binary.stat().st_size, "start": begun, "memory": memory,
            "cells": cells, "floors": floors, "tokens": tokens,
        }


def figures(series: measure.Series) -> dict[str, Any]:
    """The medians of a series, or why there are none, as plain data."""
    return asdict(measure.median(series))


class Cells:
    """Runs of cells in turn, so that a slow minute of the machine meets all of them."""

    def __init__(self, environment: Environment, extent: Extent) -> None:
        self.environment, self.extent = environment, extent
        self.database = environment.database
        self.token = environment.token(USER)
        self.claims = environment.claims(self.token)
        self.gateway = environment.gateway()
        self.gateways: dict[tuple[str, int], measure.Series] = defaultdict(list)
        self.floors: dict[tuple[str, int, bool], measure.Series] = defaultdict(list)

    def target(self, workload: Workload) -> load.Target:
        return load.Target(self.gateway.url, workload.request(), token=self.token)

    def prepare(self, workload: Workload) -> None:
        """Makes sure that everybody answers rightly, and brings caches to where they stay."""
        load.check(self.target(workload), workload.rows)
        for bare in (False, True):
            floor.check(self.database, workload, self.claims, bare)
        measure.of_server(self.target(workload), max(self.extent.connections), 1)
        self.clean(workload)

    def clean(self, workload: Workload) -> None:
        if workload.cleanup:
            self.database.psql(workload.cleanup)

    def at_gateway(self, workload: Workload, connections: int) -> None:
        cluster = self.database.cluster
        sample = measure.of_server(
            self.target(workload), connections, self.extent.seconds, self.gateway.pid, cluster
        )
        self.gateways[workload.name, connections].append(sample)
        self.clean(workload)

    def at_floor(self, workload: Workload, clients: int, bare: bool) -> None:
        sample = measure.of_floor(self.database, workload, clients, self.extent.seconds, self.claims, bare)
        self.floors[workload.name, clients, bare].append(sample)
        self.clean(workload)

    def round(self, workload: Workload, backwards: bool) -> None:
        """One run of each of a workload's cells: the gateway at each number of connections, pgbench at each of database
        connections, which is the same for all numbers beyond the pool's size."""
        connections, seen = self.extent.connections, set()
        for number in reversed(connections) if backwards else connections:
            self.at_gateway(workload, number)
            clients = min(number, POOL)
            if clients not in seen:
                seen.add(clients)
                for bare in (False, True):
                    self.at_floor(workload, clients, bare)


def by_connections(environment: Environment, extent: Extent) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Every workload at every number of connections, and the floors."""
    cells = Cells(environment, extent)
    for workload in extent.workloads:
        cells.prepare(workload)
    for number in range(extent.rounds):
        for workload in extent.workloads:
            measure.say(f"round {number + 1} of {extent.rounds}: {workload.title}")
            cells.round(workload, backwards=number % 2 == 1)
    cells.gateway.stop()
    return (
        [{"workload": name, "connections": connections, **figures(series)}
         for (name, connections), series in cells.gateways.items()],
        [{"workload": name, "clients": clients, "bare": bare, **figures(series)}
         for (name, clients, bare), series in cells.floors.items()],
    )


def by_tokens(environment: Environment, extent: Extent) -> list[dict[str, Any]]:
    """The select of ten rows with many tokens in rotation, signed with different algorithms."""
    measure.say("tokens")
    workload = WORKLOADS[0]
    source = issuer.start(environment, max(extent.tokens), ALGORITHMS)
    gateway = environment.gateway(source.settings(), admin=True)
    series: dict[tuple[str, int], measure.Series] = defaultdict(list)
    verified: dict[tuple[str, int], int] = defaultdict(int)

    def target(algorithm: str, tokens: int) -> load.Target:
        return load.Target(gateway.url, workload.request(), tokens=source.tokens(algorithm, tokens))

    for algorithm in ALGORITHMS:
        load.check(target(algorithm, 1), workload.rows)
        see_all(gateway, target(algorithm, max(extent.tokens)))
    for _ in range(extent.rounds):
        for algorithm in ALGORITHMS:
            for tokens in extent.tokens:
                before = verifications(gateway)
                cluster = environment.database.cluster
                sample = measure.of_server(
                    target(algorithm, tokens), TOKEN_CONNECTIONS, extent.seconds, gateway.pid, cluster
                )
                series[algorithm, tokens].append(sample)
                verified[algorithm, tokens] += verifications(gateway) - before
    gateway.stop()
    return [
        {"algorithm": algorithm, "tokens": tokens, "verified": verified[algorithm, tokens], **figures(runs)}
        for (algorithm, tokens), runs in series.items()
    ]


def see_all(gateway: Gateway, target: load.Target) -> None:
    """Loads a gateway until it has seen every token: what is measured afterwards is what it remembers."""
    for _ in range(SEEING_RUNS):
        before = verifications(gateway)
        measure.of_server(target, TOKEN_CONNECTIONS, 2)
        if verifications(gateway) == before:
            return
    raise EnvironmentFailure("a gateway verifies tokens again and again")


def verifications(gateway: Gateway) -> int:
    """How many signatures it has verified so far."""
    return int(gateway.metric("rowgate_token_verifications_total"))


def memory_by_connections(environment: Environment, extent: Extent) -> dict[str, Any]:
    """Resident memory of a gateway that has just started, and the most at each number of busy connections."""
    measure.say("memory")
    gateway = environment.gateway()
    time.sleep(IDLE_SECONDS)
    idle = process.resident(gateway.pid)
    workload, token = WORKLOADS[0], environment.token(USER)
    target = load.Target(gateway.url, workload.request(), token=token)
    peaks: dict[str, Any] = {}
    for connections in sorted(extent.connections):
        sample = measure.of_server(target, connections, extent.seconds, gateway.pid)
        peaks[str(connections)] = sample.resident if isinstance(sample, measure.Sample) else None
    gateway.stop()
    return {"idle": idle, "connections": peaks}


def start_up(environment: Environment, times: int) -> dict[str, Any]:
    """Milliseconds from the start of `rowgate serve` until it answers that it is ready, database and issuer there."""
    measure.say("start-up")
    taken = [ready_after(environment) for _ in range(times)]
    return {"runs": times, "median_ms": statistics.median(taken), "least_ms": min(taken), "most_ms": max(taken)}


def ready_after(environment: Environment) -> float:
    port = free_port()
    env = environment.gateway_environ(port)
    begin = time.perf_counter()
    with subprocess.Popen(
        [environment.binary, "serve"], env=env, cwd=environment.directory, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as server:
        try:
            while not answers_ready(port):
                if server.poll() is not None or time.perf_counter() - begin > 30:
                    raise EnvironmentFailure("a gateway did not start")
                time.sleep(0.0005)
            return 1000 * (time.perf_counter() - begin)
        finally:
            stop(server)


def answers_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
