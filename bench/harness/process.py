"""What a process costs, read from the kernel, and what machine this is.

CPU time is in microseconds throughout, sizes are in bytes.
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")
# What makes a measured program another one: changes elsewhere leave the figures valid.
MEASURED_PATHS = ("src", "sql", "Cargo.toml", "Cargo.lock")


def cpu_us(pid: int) -> int:
    """CPU time that a process has used so far, in user and kernel mode, of all its threads, ended ones included.

    Reads the process's CPU clock (clock_getcpuclockid(3), to the nanosecond), since the ticks of /proc/PID/stat are
    10 ms long. Raises ProcessLookupError if there is no such process.
    """
    # The id of such a clock: MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of include/linux/posix-timers_types.h.
    clock = (~pid << 3) | 2
    try:
        return time.clock_gettime_ns(clock) // 1000
    except OSError as error:
        raise ProcessLookupError(f"no process {pid}") from error


def cores() -> int:
    """Cores that this program and what it starts may use."""
    return len(os.sched_getaffinity(0))


def _stat(pid: int) -> list[str]:
    # The second field, the name, may hold spaces and parentheses; what comes after the last one does not.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def reaped_us(pid: int) -> int:
    """CPU time of children that have ended and that the process has waited for."""
    fields = _stat(pid)
    return (int(fields[13]) + int(fields[14])) * TICK_US


def children(pid: int) -> list[int]:
    """The process ids of its living children."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


@dataclass(frozen=True)
class Cluster:
    """A PostgreSQL cluster, by the process id of its postmaster."""

    postmaster: int

    def cpu_us(self) -> int:
        """CPU time of the whole cluster so far: the postmaster, every backend, and the backends that have ended.

        The postmaster waits for each of its children, so that the kernel adds theirs to its own account when they
        end: the sum never loses one, and two readings can be subtracted. It includes checkpointer, WAL writer and
        autovacuum, whose work is caused by the load, too.
        """
        # A backend that ends between the two lines is counted twice for a moment; read again until none did.
        while True:
            reaped = reaped_us(self.postmaster)
            total = reaped + cpu_us(self.postmaster)
            try:
                total += sum(cpu_us(child) for child in children(self.postmaster))
            except ProcessLookupError:
                continue
            if reaped_us(self.postmaster) == reaped:
                return total

    def backends(self) -> list[int]:
        """The process ids of its living children: backends and background processes."""
        return children(self.postmaster)


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(f"process {pid} has no {field}: it has ended")


def resident(pid: int) -> int:
    """Resident memory now, in bytes."""
    return _status(pid, "VmRSS")


def peak_resident(pid: int) -> int:
    """The most resident memory since the start, or since `reset_peak`, in bytes."""
    return _status(pid, "VmHWM")


def reset_peak(pid: int) -> None:
    """Lets `peak_resident` begin anew (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def load_average() -> float:
    """Processes that ran or wanted to, on average over the last minute, as the kernel reports it."""
    return os.getloadavg()[0]


@dataclass(frozen=True)
class Machine:
    """Where and of what something was measured."""

    cores: int
    cpu: str
    memory: int
    kernel: str
    commit: str
    changed: bool

    def sentence(self) -> str:
        """For the head of a report."""
        changed = " with changes" if self.changed else ""
        memory = round(self.memory / 2**30)
        return (
            f"{self.cores} cores ({self.cpu}), {memory} GiB of memory, Linux {self.kernel}; "
            f"commit {self.commit}{changed}"
        )


def machine() -> Machine:
    """This machine, and the commit of this repository (`changed`: what is measured differs from it)."""
    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", "-C", REPOSITORY, *arguments], capture_output=True, text=True, check=False)

    changed = git("status", "--porcelain", "--untracked-files=normal", "--", *MEASURED_PATHS).stdout.strip() != ""
    return Machine(
        cores=cores(),
        cpu=_cpu_model(),
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        kernel=platform.release(),
        commit=git("rev-parse", "--short", "HEAD").stdout.strip() or "unknown",
        changed=changed,
    )


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()
    return platform.machine()
