"""Instructions of the gateway for each request of a kind, and the budget that they are held against."""

from __future__ import annotations

import json
import platform
import re
import statistics
import subprocess
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from . import callgrind
from .environment import Environment, EnvironmentFailure
from .keep_alive import Connection, request
from .workloads import HEADERS, USER, Request, Workload, named, rows_of

# Enough for each statement to be prepared, and for each buffer to have its size.
WARM_UP = 64
# A background task of some 10,000 instructions in each second then is less than a thousandth.
REQUESTS = 500
# The gateway's background tasks fall into a run now and then, most of all that which reads the catalogue each minute.
# Runs go on until three of them agree this closely.
RUNS, MOST_RUNS = 3, 9
STEADY = 0.005
TOLERANCE = 0.05
# With another compiler or another C library the same sources are other instructions, by a few per cent.
TOLERANCE_ELSEWHERE = 0.10


@dataclass(frozen=True)
class Case:
    """One request, and the answer that it must get."""

    name: str
    title: str
    request: Request
    rows: int | None
    status: int = 200
    token: str = "user"
    """`user`; `broken`, whose signature is not right; or `none`"""
    cleanup: str = ""

    def prepared(self, tokens: dict[str, str]) -> bytes:
        """What is sent."""
        asked = self.request
        authorization = {"Authorization": f"Bearer {tokens[self.token]}"} if self.token in tokens else {}
        return request(asked.method, asked.path, {**authorization, **asked.headers}, asked.body)

    def check(self, status: int, body: bytes) -> None:
        """Raises EnvironmentFailure if this is not the answer."""
        rows = rows_of(json.loads(body)) if self.rows is not None else None
        if (status, rows) != (self.status, self.rows):
            raise EnvironmentFailure(f"{self.name}: {status}, {rows} rows: {body[:300].decode(errors='replace')}")


def _of(workload: Workload) -> Case:
    return Case(workload.name, workload.title, workload.request(), workload.rows, cleanup=workload.cleanup)


def cases() -> tuple[Case, ...]:
    """Everything that is counted: requests as bench/run sends them, and what no benchmark of throughput has."""
    select_10, select_100, select_key, user_id, batch_3, insert = map(
        _of, named(["select_10", "select_100", "select_key", "user_id", "batch_3", "insert"])
    )
    # Without these two headers: typed values, rows as objects.
    typed = {name: value for name, value in HEADERS.items() if not name.startswith("Neon-")}
    return (
        select_10,
        Case("select_10_typed", "the same, typed, rows as objects", replace(select_10.request, headers=typed), 10),
        select_100,
        select_key,
        user_id,
        Case("anonymous", "select 10 rows without a token, which gets none", select_10.request, 0, token="none"),
        batch_3,
        Case("empty_batch", "batch of no statement", Request(body='{"queries": []}'), 0),
        Case("refused", "token with a broken signature, 401", select_10.request, None, status=401, token="broken"),
        insert,
    )


@dataclass(frozen=True)
class Count:
    """Instructions for one request: the median of three runs that agree, and by how much these differed."""

    case: Case
    median: int
    spread: float


class Counter:
    """A gateway under callgrind, the connection that is counted, and the tokens of a caller."""

    def __init__(self, environment: Environment, binary: Path) -> None:
        """Starts the gateway; counts what it costs to give callgrind its commands, which is taken off."""
        self.environment = environment
        token = environment.token(USER)
        self.tokens = {"user": token, "broken": _broken(token)}
        self.gateway = callgrind.Callgrind(environment, binary)
        self.connection = Connection(self.gateway.port)
        self._commands = min(callgrind.total(self._counted(lambda: None)) for _ in range(RUNS))

    def count(self, case: Case) -> Count:
        """Counts a case."""
        self._warm_up(case)
        found: list[float] = []
        while len(found) < RUNS or (_spread(_closest(found)) > STEADY and len(found) < MOST_RUNS):
            found.append(self._run(case))
        self._clean(case)
        closest = _closest(found)
        return Count(case, round(statistics.median(closest)), _spread(closest))

    def profile(self, case: Case) -> callgrind.Profile:
        """Where the instructions of `REQUESTS` requests go."""
        self._warm_up(case)
        dumps = self._counted(lambda: self._send(case))
        self._clean(case)
        return callgrind.read(dumps)

    def idle(self) -> float:
        """Instructions in a second without requests, most seconds."""
        found = [callgrind.total(self._counted(lambda: time.sleep(1))) for _ in range(RUNS)]
        return max(0.0, statistics.median(found) - self._commands)

    def _counted(self, work: Callable[[], None]) -> list[Path]:
        self.gateway.dump()
        work()
        return self.gateway.dump()

    def _run(self, case: Case) -> float:
        return (callgrind.total(self._counted(lambda: self._send(case))) - self._commands) / REQUESTS

    def _warm_up(self, case: Case) -> None:
        prepared = case.prepared(self.tokens)
        for _ in range(WARM_UP):
            case.check(*self.connection.send(prepared))

    def _send(self, case: Case) -> None:
        prepared = case.prepared(self.tokens)
        for _ in range(REQUESTS):
            status, body = self.connection.send(prepared)
            if status != case.status:
                case.check(status, body)

    def _clean(self, case: Case) -> None:
        if case.cleanup:
            self.environment.database.psql(case.cleanup)


def _broken(token: str) -> str:
    """The same with another signature."""
    head, _, signature = token.rpartition(".")
    return f"{head}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


def _closest(found: list[float]) -> list[float]:
    """The three that lie closest together."""
    found = sorted(found)
    windows = [found[at : at + RUNS] for at in range(len(found) - RUNS + 1)]
    return min(windows, key=_spread)


def _spread(found: list[float]) -> float:
    return (max(found) - min(found)) / statistics.median(found)


def tools(binary: Path) -> dict[str, str]:
    """What instructions depend on besides the sources. The compiler leaves its version in the binary."""
    compiler = re.search(rb"rustc version (\S+)", binary.read_bytes())
    valgrind = subprocess.run(["valgrind", "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "rustc": compiler[1].decode() if compiler else "unknown",
        "libc": " ".join(platform.libc_ver()),
        "valgrind": valgrind.strip().removeprefix("valgrind-"),
    }


HEAD = """\
# Instructions of the gateway for one request, which `bench/count --check` holds against those that it counts:
# more than 5 % above the budget fails. Written by `bench/count --update`.
#
# They are those of a release build on an x86-64 with AVX2, which is what valgrind emulates (no AVX-512, no SHA
# extensions). Where one of these tools is another one, 10 % are allowed.
"""


@dataclass(frozen=True)
class Budget:
    """What `instructions.toml` says."""

    tools: dict[str, str]
    instructions: dict[str, int]

    @classmethod
    def read(cls, path: Path) -> Budget:
        """Raises EnvironmentFailure if there is none."""
        try:
            content = tomllib.loads(path.read_text())
            return cls(content["tools"], content["instructions"])
        except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
            raise EnvironmentFailure(f"{path} is no budget ({error}): bench/count --update writes it") from error

    @staticmethod
    def write(path: Path, tools: dict[str, str], counts: list[Count]) -> None:
        """Replaces the budget by what was counted."""
        lines = [HEAD, "[tools]", *(f'{name} = "{version}"' for name, version in tools.items()), "", "[instructions]"]
        for count in counts:
            lines += [f"# {count.case.title}", f"{count.case.name} = {count.median:_}"]
        path.write_text("\n".join(lines) + "\n")

    def tolerance(self, tools: dict[str, str]) -> float:
        """How far above the budget a count may be, as a share of it."""
        return TOLERANCE if tools == self.tools else TOLERANCE_ELSEWHERE

    def verdict(self, count: Count, tolerance: float) -> tuple[bool, str]:
        """Whether a count is within the budget, and a remark. One without a budget is not: nobody would notice."""
        allowed = self.instructions.get(count.case.name)
        if allowed is None:
            return False, "no budget"
        change = count.median / allowed - 1
        if change > tolerance:
            return False, f"{change:+.1%}, too many"
        if change < -tolerance:
            return True, f"{change:+.1%}, lower the budget"
        return True, f"{change:+.1%}"
