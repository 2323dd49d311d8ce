"""System calls of a gateway for each request, counted by strace from the gateway's start.

strace slows each call down, so that threads sleep and wake more often than they else would: what is counted under load
is the order of magnitude, not the last digit.
"""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from pathlib import Path

from . import load
from .environment import Environment, EnvironmentFailure, await_ready, free_port, stop
from .instructions import WARM_UP, Case
from .keep_alive import Connection
from .process import children
from .workloads import USER

REQUESTS = 1_000
SECONDS = 3
CONNECTIONS = 16
# Rarer ones belong to the background.
LEAST = 0.01
_LINE = re.compile(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) (?:[ \d]*) (\w+)$", re.MULTILINE)


class Traced:
    """A gateway under strace; `calls` ends it."""

    def __init__(self, environment: Environment, binary: Path) -> None:
        """Starts it with everybody's limits switched off, since all load comes from one caller."""
        self.port = free_port()
        self._report = environment.directory / f"strace-{self.port}"
        log = environment.directory / f"traced-{self.port}.log"
        command: list[str | Path] = ["strace", "-f", "-c", "-o", self._report, binary, "serve"]
        self._process = environment.start(command, log, environment.gateway_environ(self.port))
        await_ready(self._process, self.port, log)

    def calls(self) -> Counter[str]:
        """All calls since its start, by name."""
        # strace itself keeps signals from what it traces.
        for child in children(self._process.pid):
            os.kill(child, signal.SIGTERM)
        self._process.wait(60)
        stop(self._process)
        found = _LINE.findall(self._report.read_text())
        return Counter({name: int(number) for number, name in found if name != "total"})


def per_request(environment: Environment, binary: Path, case: Case) -> str:
    """A Markdown table: one connection in sequence, and many of them at once. Only for requests of a user."""
    if case.token != "user":
        raise EnvironmentFailure(f"{case.name}: system calls are counted of requests with a valid token")
    sequence, busy = _in_sequence(environment, binary, case), _at_once(environment, binary, case)
    lines = [
        f"| system call | one connection | {CONNECTIONS} connections |", "|---|---:|---:|",
        f"| all | {sum(sequence.values()):.1f} | {sum(busy.values()):.1f} |",
    ]
    for name in sorted({*sequence, *busy}, key=lambda name: -sequence.get(name, 0)):
        one, many = sequence.get(name, 0), busy.get(name, 0)
        if max(one, many) >= LEAST:
            lines.append(f"| `{name}` | {one:.2f} | {many:.2f} |")
    return "\n".join(lines)


def _in_sequence(environment: Environment, binary: Path, case: Case) -> dict[str, float]:
    """The difference of two gateways' calls, one of which answered more requests."""
    prepared = case.prepared({"user": environment.token(USER)})
    found = []
    for requests in (WARM_UP, WARM_UP + REQUESTS):
        traced = Traced(environment, binary)
        connection = Connection(traced.port)
        for _ in range(requests):
            case.check(*connection.send(prepared))
        connection.close()
        found.append(traced.calls())
    return _difference(*found, REQUESTS)


def _at_once(environment: Environment, binary: Path, case: Case) -> dict[str, float]:
    """The calls of a gateway under load, without those of one that only starts and ends."""
    token = environment.token(USER)
    idle = Traced(environment, binary).calls()
    traced = Traced(environment, binary)
    target = load.Target(f"http://127.0.0.1:{traced.port}/sql", case.request, token=token)
    load.check(target, case.rows)
    requests = load.run(target, CONNECTIONS, SECONDS).requests
    return _difference(idle, traced.calls(), requests)


def _difference(few: Counter[str], many: Counter[str], requests: int) -> dict[str, float]:
    return {name: (number - few[name]) / requests for name, number in many.items()}
