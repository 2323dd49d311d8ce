"""A gateway whose instructions valgrind's callgrind counts, and an account of where they went.

Instructions of one and the same program on one and the same request are the same on a busy machine and on an idle one,
which no measure of time is. What the kernel does for a request is not among them, and some instructions are dearer than
others: for times there is `bench/run`.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from .environment import UNLIMITED, Environment, EnvironmentFailure, await_ready, free_port, stop
from .keep_alive import Connection, request

# callgrind counts each repetition of `rep movsb` as an instruction, and thus large copies byte by byte; without this
# feature glibc copies with vectors, as it does with smaller ones.
TUNABLES = "glibc.cpu.hwcaps=-ERMS"
# Under valgrind everything takes some fifty times as long, on a busy machine longer still.
PATIENCE = {
    "ROWGATE_SERVER_STARTUP_TIMEOUT": "300s",
    "ROWGATE_SERVER_HEADER_TIMEOUT": "300s",
    "ROWGATE_DATABASE_CONNECT_TIMEOUT": "60s",
    "ROWGATE_DATABASE_ACQUIRE_TIMEOUT": "60s",
    "ROWGATE_LIMITS_DEADLINE": "300s",
}
START_SECONDS = 300
ATTEMPTS, ATTEMPT_SECONDS = 8, 15
# vgdb needs about this long to hand a command over; only then is a nudge of any use.
HANDOVER_SECONDS = 0.1
NUDGE_SECONDS = 0.5
# Valgrind looks for a command after this many basic blocks: often enough for a single nudge.
POLL_BLOCKS = 500


class Callgrind:
    """One `rowgate serve` under callgrind, on one core: how work is spread over threads then cannot vary.

    Settings are those of the product, but for longer patience. Ends with its environment.
    """

    def __init__(self, environment: Environment, binary: Path) -> None:
        """Starts it and waits until it is ready."""
        self.port = free_port()
        self.directory = environment.directory / "callgrind"
        self.directory.mkdir()
        log = environment.directory / "counted.log"
        command: list[str | Path] = [
            "valgrind", "--tool=callgrind", f"--vgdb-poll={POLL_BLOCKS}",
            f"--vgdb-prefix={self.directory}/vgdb", f"--log-file={self.directory}/log",
            f"--callgrind-out-file={self.directory}/out", binary, "serve",
        ]
        env = {**environment.gateway_environ(self.port), **PATIENCE, "GLIBC_TUNABLES": TUNABLES}
        for name in UNLIMITED:
            del env[name]
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {max(cores)})
        try:
            self.process = environment.start(command, log, env)
        finally:
            os.sched_setaffinity(0, cores)
        await_ready(self.process, self.port, log, patience=START_SECONDS)
        self._nudge = Connection(self.port)
        self._known: set[Path] = set()

    def dump(self) -> list[Path]:
        """Has callgrind write what it counted since the last dump, and begin anew from zero.

        vgdb has been seen to say that a command was obeyed which was not; only the file is proof. Should a command that
        was given up be obeyed after all, its file comes with those of the next call: nothing is lost or counted twice.
        """
        for _ in range(ATTEMPTS):
            self._command("dump")
            fresh = {file for file in {*self.directory.glob("out.*")} - self._known if _TOTAL.search(file.read_text())}
            if fresh:
                self._known |= fresh
                return sorted(fresh)
            if self.process.poll() is not None:
                break
        log = (self.directory / "log").read_text()[-2000:]
        raise EnvironmentFailure(f"callgrind writes nothing (exit code {self.process.poll()}): {log}")

    def _command(self, command: str) -> None:
        """Gives valgrind a command and waits until vgdb says that it was obeyed, or for long enough.

        A process that waits in a system call sees no command. vgdb could wake it with ptrace, which containers may
        forbid; a request wakes it just as well.
        """
        vgdb = subprocess.Popen(
            ["vgdb", f"--pid={self.process.pid}", f"--vgdb-prefix={self.directory}/vgdb", "--max-invoke-ms=0", command],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + ATTEMPT_SECONDS
        pause = HANDOVER_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                vgdb.wait(pause)
                return
            except subprocess.TimeoutExpired:
                self._nudge.send(request("GET", "/health/live"))
                pause = NUDGE_SECONDS
        stop(vgdb)


_NAME = re.compile(r"^(c?(?:fn|fl|fi|fe|ob))=\((\d+)\)(?: (.*))?$")
_COST = re.compile(r"^[+\-*\d]\d*(?: (\d+))?$")
# The last line: a dump without it is not finished yet.
_TOTAL = re.compile(r"^totals: (\d+)", re.MULTILINE)


def total(dumps: list[Path]) -> int:
    """All instructions of these dumps."""
    return sum(int(found[1]) for dump in dumps if (found := _TOTAL.search(dump.read_text())))


@dataclass
class Profile:
    """Where the instructions of dumps went, all threads together.

    callgrind_annotate has a line for each function *and* each file inlined into it, which hides the dear ones among
    pieces of the standard library. Here a function is one line, and the files are kept beside it.
    """

    total: int = 0
    own: Counter[str] = field(default_factory=Counter)
    """function → instructions of its own, inlined functions included"""
    files: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """function → file of the source that they come from → instructions"""
    calls: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """function → caller → instructions of these calls, all below included"""
    called: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """function → caller → how often"""

    def inclusive(self) -> Counter[str]:
        """function → instructions with those of all that it calls. Left out are loops of threads, which were called
        before, and recursion that counts twice."""
        found = Counter(self.own)
        for function, callers in self.calls.items():
            for caller, spent in callers.items():
                if caller != function:
                    found[caller] += spent
        kept = (name for name, spent in found.items() if self.times(name) and spent <= self.total)
        return Counter({name: found[name] for name in kept})

    def times(self, function: str) -> int:
        """How often a function was called."""
        return sum(self.called.get(function, {}).values())


def read(dumps: list[Path]) -> Profile:
    """Reads dumps as one."""
    profile = Profile()
    for dump in dumps:
        _add(dump, profile)
    profile.total = profile.own.total()
    return profile


def _add(dump: Path, profile: Profile) -> None:
    """Reads a dump (https://valgrind.org/docs/manual/cl-format.html): names are numbers after their first use, lines
    without a key are costs of the function above, and the line after `calls=` is the cost of these calls."""
    names: dict[tuple[str, str], str] = {}
    function = callee = file = ""
    # How often, from `calls=` to the next line; 0: the call began before this dump.
    calls: int | None = None
    for line in dump.read_text().splitlines():
        if named := _NAME.match(line):
            key, number, name = named.groups()
            kind = key[-2:] if key[-2:] in ("fn", "ob") else "file"
            name = names.setdefault((kind, number), name)
            if key == "fn":
                function = name
            elif key == "cfn":
                callee = name
            elif key in ("fl", "fi", "fe"):
                file = name
        elif line.startswith("calls="):
            calls = int(line.removeprefix("calls=").split()[0])
        elif cost := _COST.match(line):
            spent = int(cost[1] or 0)
            if calls is not None:
                profile.calls[callee][function] += spent
                profile.called[callee][function] += calls
                calls = None
            else:
                profile.own[function] += spent
                profile.files[function][file] += spent
