"""A profile as Markdown: where the instructions of one request go."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from .callgrind import Profile
from .environment import EnvironmentFailure
from .instructions import REQUESTS, Case

MOST = 25
MOST_INCLUSIVE = 40
MOST_CALLERS = 10
MOST_ORIGINS = 20
# Where a file comes from: a crate of the registry, a module of ours, the standard library, C libraries.
_CRATE = re.compile(r"/registry/src/[^/]+/(.+?)-\d+\.")
_OURS = re.compile(r"(?:^|/)src/(\w+)")
_STANDARD = "/rustc/"
STD, UNKNOWN = "std", "unknown"
_LIBC = re.compile(r"^\./|/sysdeps/|/nptl/|/malloc/")


def report(profile: Profile, case: Case, callers: str | None) -> str:
    """Tables: own cost by origin, own cost and cost with all below by function; callers of functions asked for."""
    if not any("rowgate" in function for function in profile.own):
        raise EnvironmentFailure("the binary has no names: cargo build --profile profiling")
    own = _functions(profile, profile.own, MOST)
    inclusive = _functions(profile, profile.inclusive(), MOST_INCLUSIVE)
    parts = [
        f"`{case.name}`, {case.title}: **{profile.total / REQUESTS:,.0f} instructions** for each request.",
        "By origin of the source; inlined functions count where they were written:",
        _table("origin", ((name, spent, "–") for name, spent in origins(profile).most_common(MOST_ORIGINS)), profile),
        "By function, its own:", own,
        "By function, with all that it calls:", inclusive,
    ]
    for function in sorted(profile.own):
        if callers and callers in function:
            parts += [f"Callers of `{function}`:", _callers(profile, function)]
    return "\n\n".join(parts)


def origins(profile: Profile) -> Counter[str]:
    """origin → instructions. Pieces of the standard library inlined into a function of somebody's count for him."""
    found: Counter[str] = Counter()
    for files in profile.files.values():
        pieces: Counter[str] = Counter()
        for file, spent in files.items():
            pieces[_origin(file)] += spent
        generic = pieces.pop(STD, 0) + pieces.pop(UNKNOWN, 0)
        home = pieces.most_common(1)[0][0] if pieces else STD
        found += pieces + Counter({home: generic})
    return found


def _origin(file: str) -> str:
    if crate := _CRATE.search(file):
        return crate[1]
    if file.startswith(_STANDARD):
        return STD
    if "aws-lc" in file:
        return "aws-lc"
    if _LIBC.search(file):
        return f"libc: {file.rpartition('/')[2]}"
    if ours := _OURS.search(file):
        return f"rowgate::{ours[1]}"
    return UNKNOWN


def _functions(profile: Profile, spent: Counter[str], most: int) -> str:
    rows = ((f"`{name}`", cost, f"{profile.times(name) / REQUESTS:.1f}") for name, cost in spent.most_common(most))
    return _table("function", rows, profile)


def _callers(profile: Profile, function: str) -> str:
    rows = (
        (f"`{caller}`", spent, f"{profile.called[function][caller] / REQUESTS:.1f}")
        for caller, spent in profile.calls[function].most_common(MOST_CALLERS)
    )
    return _table("caller", rows, profile)


def _table(title: str, rows: Iterable[tuple[str, int, str]], profile: Profile) -> str:
    lines = [f"| instructions | share | calls | {title} |", "|---:|---:|---:|---|"]
    for name, spent, calls in rows:
        lines.append(f"| {spent / REQUESTS:,.0f} | {spent / profile.total:.1%} | {calls} | {name} |")
    return "\n".join(lines)
