"""An issuer of many tokens: `bench/tokens.mjs`, which signs with keys of each kind and serves their key set."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from .environment import Environment, EnvironmentFailure
from .process import REPOSITORY

AUDIENCE = "bench"
START_SECONDS = 300


@dataclass(frozen=True)
class Issuer:
    """Its URL, and one file of tokens, one in each line, for each algorithm. Token n is that of user n modulo 1,000."""

    url: str
    directory: Path

    def settings(self) -> dict[str, str]:
        """What makes a gateway believe it."""
        return {
            "ROWGATE_ISSUER_URL": self.url,
            "ROWGATE_ISSUER_JWKS_URL": f"{self.url}/jwks",
            "ROWGATE_ISSUER_AUDIENCE": AUDIENCE,
        }

    def tokens(self, algorithm: str, number: int) -> Path:
        """A file of the first `number` tokens. User 0 has the first: rows enough, as everybody."""
        path = self.directory / f"{algorithm}-{number}"
        if not path.exists():
            with (self.directory / algorithm).open() as lines:
                path.write_text("".join(line for line, _ in zip(lines, range(number))))
        return path


def available() -> bool:
    """Whether there is a node to run it."""
    return shutil.which("node") is not None


def start(environment: Environment, number: int, algorithms: tuple[str, ...]) -> Issuer:
    """Starts it, and waits until it has signed `number` tokens with each algorithm."""
    directory = environment.directory / "tokens"
    directory.mkdir(mode=0o700)
    log = environment.directory / "issuer.log"
    script = REPOSITORY / "bench/tokens.mjs"
    process = environment.start(["node", script, directory, str(number), ",".join(algorithms)], log)
    deadline = time.monotonic() + START_SECONDS
    while not (directory / "issuer").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise EnvironmentFailure(f"no tokens:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)
    return Issuer((directory / "issuer").read_text().strip(), directory)
