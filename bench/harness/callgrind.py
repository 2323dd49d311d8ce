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
        """Starts it, waits until it is ready, and begins to count."""
        self.port = free_port()
        self.directory = environment.directory / "callgrind"
        self.directory.mkdir()
        log = environment.directory / "counted.log"
        command: list[str | Path] = [
            "valgrind", "--tool=callgrind", "--instr-atstart=no", f"--vgdb-poll={POLL_BLOCKS}",
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
        await_ready(self.process, self.port, log)
        self._nudge = Connection(self.port)
        self._command("instrumentation on")

    def zero(self) -> None:
        """Forgets what was counted so far."""
        self._command("zero")

    def dump(self) -> Path:
        """Writes what was counted since `zero` into a file."""
        known = set(self.directory.glob("out.*"))
        self._command("dump")
        fresh = set(self.directory.glob("out.*")) - known
        if not fresh:
            raise EnvironmentFailure("callgrind wrote no file")
        # Should the command have been obeyed twice, the first file has it all: a dump begins anew from zero.
        return min(fresh, key=lambda file: int(file.suffix[1:]))

    def _command(self, command: str) -> None:
        """Has valgrind obey, and waits until it has. Now and then a command is lost; it is then given again."""
        for _ in range(ATTEMPTS):
            if self._obeyed(command):
                return
        raise EnvironmentFailure(f"valgrind does not obey `{command}`: {(self.directory / 'log').read_text()[-2000:]}")

    def _obeyed(self, command: str) -> bool:
        """Whether valgrind obeyed in time.

        A process that waits in a system call sees no command. vgdb could wake it with ptrace, which containers may
        forbid; a request wakes it just as well.
        """
        vgdb = subprocess.Popen(
            ["vgdb", f"--pid={self.process.pid}", f"--vgdb-prefix={self.directory}/vgdb", "--max-invoke-ms=0",
             *command.split()],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        deadline = time.monotonic() + ATTEMPT_SECONDS
        pause = HANDOVER_SECONDS
        while True:
            try:
                said, _ = vgdb.communicate(timeout=pause)
            except subprocess.TimeoutExpired:
                if self.process.poll() is not None:
                    stop(vgdb)
                    raise EnvironmentFailure(f"the gateway ended: {self.process.returncode}") from None
                if time.monotonic() > deadline:
                    stop(vgdb)
                    return False
                self._nudge.send(request("GET", "/health/live"))
                pause = NUDGE_SECONDS
                continue
            if vgdb.returncode != 0:
                raise EnvironmentFailure(f"vgdb: {said.strip()}")
            return True


_NAME = re.compile(r"^(c?(?:fn|fl|fi|fe|ob))=\((\d+)\)(?: (.*))?$")
_COST = re.compile(r"^[+\-*\d]\d*(?: (\d+))?$")
_TOTAL = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)


def total(dump: Path) -> int:
    """All instructions of a dump."""
    found = _TOTAL.search(dump.read_text())
    if not found:
        raise EnvironmentFailure(f"{dump}: callgrind has written no total")
    return int(found[1])


@dataclass
class Profile:
    """Where the instructions of a dump went, all threads together.

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
        """function → instructions with those of all that it calls. Some recursion counts twice; what then exceeds the
        total is left out."""
        found = Counter(self.own)
        for function, callers in self.calls.items():
            for caller, spent in callers.items():
                if caller != function:
                    found[caller] += spent
        return Counter({function: spent for function, spent in found.items() if spent <= self.total})

    def times(self, function: str) -> int:
        """How often a function was called."""
        return sum(self.called[function].values())


def read(dump: Path) -> Profile:
    """Reads a dump (https://valgrind.org/docs/manual/cl-format.html): names are numbers after their first use, lines
    without a key are costs of the function above, and the line after `calls=` is the cost of these calls."""
    profile = Profile()
    names: dict[tuple[str, str], str] = {}
    function = callee = file = ""
    calls = 0
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
            if calls:
                profile.calls[callee][function] += spent
                profile.called[callee][function] += calls
                calls = 0
            else:
                profile.own[function] += spent
                profile.files[function][file] += spent
    profile.total = profile.own.total()
    return profile
