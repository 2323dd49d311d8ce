"""A fresh PostgreSQL cluster with Rowgate's SQL, and gateways in front of it; all of it ends with the `with` block.

    with Environment(binary=release_binary(arguments.binary)) as environment:
        environment.seed()
        gateway = environment.gateway({"ROWGATE_DATABASE_POOL_SIZE": "4"})
        token = environment.token("user1")

The cluster is that of `rowgate dev`, whose own gateway stays idle. Gateways under test are `rowgate serve`, as an
operator would run it.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from base64 import urlsafe_b64decode
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from urllib.parse import unquote, urlsplit

from .process import REPOSITORY, Cluster

SQL = REPOSITORY / "sql"
POOL = 16
USERS = 1_000
ROWS = 100_000
AUDIENCE = "rowgate-dev"
START_SECONDS = 60
STOP_SECONDS = 30
HELPER_SQL = Path(__file__).with_name("helpers.sql")

# What a benchmark with one token needs switched off: it is one caller, from one address.
UNLIMITED = {
    "ROWGATE_LIMITS_CONCURRENT_REQUESTS": "off",
    "ROWGATE_SERVER_CONNECTIONS_PER_ADDRESS": "off",
}


class EnvironmentFailure(Exception):
    """Something that a benchmark needs is missing, did not start, or did not answer."""


def release_binary(given: Path | None) -> Path:
    """The program to measure: the given one, or that of `cargo build --release`, which is run first."""
    if given is None:
        subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=REPOSITORY, check=True)
        given = REPOSITORY / "target/release/rowgate"
    if not os.access(given, os.X_OK):
        raise EnvironmentFailure(f"{given} is not a program")
    return given.resolve()


def need(program: str, package: str) -> None:
    """Makes sure that a program is there; raises EnvironmentFailure that names its Debian package."""
    if shutil.which(program) is None:
        raise EnvironmentFailure(f"{program} is missing: apt-get install {package}")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def raise_open_files() -> None:
    """Lets this process and its children have as many connections as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _end_with_parent() -> None:
    # Runs in the child. Should this program be killed, nothing that it started goes on: PR_SET_PDEATHSIG, prctl(2).
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def start(command: list[str | Path], log: Path, env: dict[str, str], cwd: Path) -> subprocess.Popen[bytes]:
    """Starts a server whose output goes to a file, in a session of its own: Ctrl-C is ours, we then stop it."""
    with log.open("wb") as output:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, cwd=cwd,
            start_new_session=True, preexec_fn=_end_with_parent,
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    """Asks a process to end, waits for it, and ends it if it does not."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def is_ready(port: int) -> bool:
    """Whether a gateway answers that it is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def await_ready(
    process: subprocess.Popen[bytes], port: int, log: Path, interval: float = 0.05, patience: float = START_SECONDS
) -> None:
    """Waits until a gateway is ready; raises EnvironmentFailure with its log if it ends or takes too long."""
    deadline = time.monotonic() + patience
    while not is_ready(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise EnvironmentFailure(f"no gateway on port {port}:\n{log.read_text(errors='replace')[-4000:]}")
        time.sleep(interval)


@dataclass
class Gateway:
    """A running `rowgate serve`."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    admin_port: int | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def url(self) -> str:
        """Where it takes statements."""
        return f"http://127.0.0.1:{self.port}/sql"

    def metrics(self) -> str:
        """Its metrics in Prometheus' text format; only if it was started with `admin=True`."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    def metric(self, name: str) -> float:
        """The sum of one metric over all of its labels."""
        values = re.findall(rf"^{re.escape(name)}(?:\{{[^\n]*\}})? (\S+)$", self.metrics(), re.MULTILINE)
        return sum(float(value) for value in values)

    def stop(self) -> None:
        """Ends it."""
        stop(self.process)


@dataclass(frozen=True)
class Login:
    """How psql and pgbench log in. The password is in the environment, which only this user can read."""

    url: str
    secret: dict[str, str] = field(repr=False)

    def environ(self) -> dict[str, str]:
        """The environment of such a client."""
        return {**clean_environ(), **self.secret, "PGOPTIONS": "-c client_min_messages=warning"}


@dataclass
class Database:
    """The cluster's database, with its superuser's login and those that `rowgate dev` made."""

    host: str
    port: int
    name: str
    passfile: Path
    cluster: Cluster
    urls: dict[str, str] = field(repr=False)

    @property
    def superuser(self) -> Login:
        """The superuser, whom no policy binds."""
        url = f"postgresql://postgres@{self.host}:{self.port}/{self.name}"
        return Login(url, {"PGPASSFILE": str(self.passfile)})

    @property
    def authenticated(self) -> Login:
        """The role of requests with a token."""
        at = urlsplit(self.urls["DATABASE_AUTHENTICATED_URL"])
        url = f"postgresql://{at.username}@{self.host}:{self.port}/{self.name}"
        return Login(url, {"PGPASSWORD": unquote(at.password or "")})

    def psql(self, sql: str, login: Login | None = None, **variables: str) -> str:
        """Runs SQL (by default as the superuser) with psql's variables, and returns the rows as unaligned text.

        Raises EnvironmentFailure with the server's message.
        """
        login = login or self.superuser
        command = ["psql", "-qXAt", "-v", "ON_ERROR_STOP=1", login.url]
        for name, value in variables.items():
            command += ["-v", f"{name}={value}"]
        run = subprocess.run(command, input=sql, capture_output=True, text=True, env=login.environ(), check=False)
        if run.returncode != 0:
            raise EnvironmentFailure(f"psql: {run.stderr.strip()}")
        return run.stdout.strip()

    def version(self) -> str:
        """PostgreSQL's version, without the distribution's addition."""
        return self.psql("show server_version").split()[0]


def clean_environ() -> dict[str, str]:
    """The environment without settings of gateways and databases: runs must not depend on who starts them."""
    foreign = ("ROWGATE_", "DATABASE_", "PG")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    if "ROWGATE_PG_BIN" in os.environ:
        kept["ROWGATE_PG_BIN"] = os.environ["ROWGATE_PG_BIN"]
    return kept


def _on_signal(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


class Environment:
    """The cluster, its issuer, and the gateways that were started. A context manager."""

    database: Database
    issuer: str

    def __init__(self, binary: Path, sql: Path = SQL) -> None:
        """`binary` makes the cluster, and is what gateways are unless told otherwise; `sql` is applied to it."""
        self.binary = binary
        self.sql = sql
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Environment:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _on_signal)
        raise_open_files()
        need("psql", "postgresql-client")
        self.directory = Path(tempfile.mkdtemp(prefix="rowgate-bench-"))
        # PostgreSQL does not run as root: `rowgate dev` then runs it as another user, who must get to its directory.
        self.directory.chmod(0o755)
        try:
            self._start_cluster()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _start_cluster(self) -> None:
        port, log = free_port(), self.directory / "dev.log"
        command = [self.binary, "dev", "--data-dir", self.data_dir, "--listen", f"127.0.0.1:{port}", "--sql", self.sql]
        process = self.start(command, log)
        await_ready(process, port, log)
        lines = (self.data_dir / "env").read_text().splitlines()
        urls = {name: value.strip("'") for name, _, value in (line.partition("=") for line in lines)}
        at = urlsplit(urls["DATABASE_URL"])
        postmaster = int((self.data_dir / "postgres/data/postmaster.pid").read_text().split()[0])
        self.database = Database(
            host=at.hostname or "", port=at.port or 0, name=at.path.lstrip("/"),
            passfile=self.data_dir / "pgpass", cluster=Cluster(postmaster), urls=urls,
        )
        self.issuer = json.loads(_claims_of(self.token("nobody")))["iss"]

    def _end(self) -> None:
        for process in reversed(self._running):
            stop(process)
        self._running.clear()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def data_dir(self) -> Path:
        """That of `rowgate dev`."""
        return self.directory / "dev"

    def start(
        self, command: list[str | Path], log: Path, env: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Starts something that ends with this environment; its working directory is the environment's."""
        process = start(command, log, env or clean_environ(), self.directory)
        self._running.append(process)
        return process

    def token(self, user: str) -> str:
        """A token of the development issuer, which gateways accept unless told otherwise."""
        command = [self.binary, "token", "--sub", user, "--data-dir", self.data_dir]
        run = subprocess.run(command, capture_output=True, text=True, env=clean_environ(), check=True)
        return run.stdout.strip()

    def claims(self, token: str) -> str:
        """A token's claims as JSON, which a gateway hands to the database as they are."""
        return _claims_of(token)

    def seed(self, users: int = USERS, rows: int = ROWS) -> None:
        """Fills `todos` with `rows` rows in turn of `users` users (user0 …), ids from 1; makes `bench.seal(claims)`.

        That function seals for pgbench, which cannot compute an HMAC itself.
        """
        self.database.psql(HELPER_SQL.read_text(), users=str(users), rows=str(rows))

    def gateway(
        self, settings: dict[str, str] | None = None, binary: Path | None = None, admin: bool = False
    ) -> Gateway:
        """Starts `rowgate serve` on a free port and waits until it is ready.

        `settings` are environment variables and win over the defaults: 16 database connections, the development
        issuer, no limit on one caller's or one address's requests, log at `info` into a file.
        """
        port, admin_port = free_port(), free_port() if admin else None
        log = self.directory / f"serve-{port}.log"
        env = self.gateway_environ(port)
        if admin_port is not None:
            env["ROWGATE_SERVER_ADMIN_LISTEN"] = f"127.0.0.1:{admin_port}"
        process = self.start([binary or self.binary, "serve"], log, {**env, **(settings or {})})
        await_ready(process, port, log)
        return Gateway(process, port, log, admin_port)

    def gateway_environ(self, port: int) -> dict[str, str]:
        """The environment of a gateway with the defaults of a benchmark."""
        return {
            **clean_environ(), **self.database.urls, **UNLIMITED,
            "ROWGATE_SERVER_LISTEN": f"127.0.0.1:{port}",
            "ROWGATE_DATABASE_POOL_SIZE": str(POOL),
            "ROWGATE_ISSUER_URL": self.issuer,
            "ROWGATE_ISSUER_AUDIENCE": AUDIENCE,
        }


def _claims_of(token: str) -> str:
    body = token.split(".")[1]
    return urlsafe_b64decode(body + "=" * (-len(body) % 4)).decode()
