"""Load over HTTP: wrk, and the one request beforehand that shows that the answer is the expected one."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from .environment import EnvironmentFailure, clean_environ
from .workloads import Request, rows_of

# wrk counts a request without an answer by then as an error; a thousand connections on two cores wait for long.
TIMEOUT_SECONDS = 10

REPORT = """
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    e.status, e.connect + e.read + e.write + e.timeout))
end
"""
# The same bytes each time: wrk makes them once.
ONE = """
wrk.method, wrk.body = {method}, {body}
for name, value in pairs({headers}) do wrk.headers[name] = value end
"""
# Several requests in rotation. They are made beforehand, so that a few of them and many cost wrk the same.
AROUND = """
local threads, requests, at = 0, {}, 0
function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end
function request()
  at = at % #requests + 1
  return requests[at]
end
-- Threads begin far apart.
local function begin()
  at = math.floor(number * #requests / 2)
end
"""
# Another token each time.
TOKENS = """
function init(args)
  for token in io.lines({tokens}) do
    local headers = {headers}
    headers["Authorization"] = "Bearer " .. token
    requests[#requests + 1] = wrk.format({method}, {path}, headers, {body})
  end
  begin()
end
"""
# Another text each time, as many as there are: %N in the body is a number that goes round.
TEXTS = """
function init(args)
  for n = 1, {texts} do
    requests[n] = wrk.format({method}, {path}, {headers}, (string.gsub({body}, "%%N", tostring(n))))
  end
  begin()
end
"""


class LoadFailure(Exception):
    """An answer was not the expected one, or requests failed under load."""


@dataclass(frozen=True)
class Load:
    """What a run of wrk found. Latencies in microseconds, as wrk corrects them for coordinated omission."""

    requests: int
    seconds: float
    p50: int
    p99: int
    p999: int

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


@dataclass(frozen=True)
class Target:
    """A server, what it is asked, and with whose token: one, or those of a file (one in each line) in rotation.

    `texts`: so many different bodies in rotation; each %N in the body is replaced by a number from 1.
    """

    url: str
    request: Request
    token: str | None = None
    tokens: Path | None = None
    texts: int = 0

    def address(self) -> str:
        """Scheme, host and port."""
        at = urlsplit(self.url)
        return f"{at.scheme}://{at.netloc}"

    def headers(self) -> dict[str, str]:
        """The request's headers; with the token, if there is a single one."""
        headers = dict(self.request.headers)
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        return headers

    def script(self) -> str:
        """wrk's script."""
        request = self.request
        # wrk.format adds Host only where nothing does; a server may look at it.
        headers = {"Host": urlsplit(self.url).netloc, **self.headers()}
        values = {
            "method": lua(request.method), "path": lua(request.path), "body": lua(request.body),
            "headers": "{" + ", ".join(f"[{lua(name)}] = {lua(value)}" for name, value in headers.items()) + "}",
        }
        if self.tokens is not None:
            return AROUND + TOKENS.format(tokens=lua(str(self.tokens)), **values) + REPORT
        if self.texts:
            return AROUND + TEXTS.format(texts=self.texts, **values) + REPORT
        return ONE.format(**values) + REPORT


def lua(text: str) -> str:
    """A Lua string of these bytes."""
    plain = re.compile(rb"[^A-Za-z0-9 _.,:;/{}()=*-]")
    return '"' + plain.sub(lambda found: b"\\%03d" % found[0][0], text.encode()).decode() + '"'


def check(target: Target, rows: int | None, contains: str | None = None) -> None:
    """Sends the request once; raises LoadFailure unless the answer is a 200 or 201 with so many rows.

    Without it one could measure how fast a server says no.
    """
    request, headers = target.request, target.headers()
    if target.tokens is not None:
        with target.tokens.open() as lines:
            headers["Authorization"] = f"Bearer {lines.readline().strip()}"
    at = urlsplit(target.url)
    kind = http.client.HTTPSConnection if at.scheme == "https" else http.client.HTTPConnection
    connection = kind(at.hostname or "", at.port, timeout=30)
    try:
        connection.request(request.method, request.path, request.body.replace("%N", "1").encode() or None, headers)
        response = connection.getresponse()
        body = response.read().decode(errors="replace")
    except OSError as error:
        raise LoadFailure(f"no answer from {target.address()}: {error}") from error
    finally:
        connection.close()
    if response.status not in (200, 201):
        raise LoadFailure(f"answered with {response.status}: {body[:500]}")
    if contains is not None and contains not in body:
        raise LoadFailure(f"the answer does not contain {contains!r}: {body[:500]}")
    if rows is not None:
        try:
            found = rows_of(json.loads(body))
        except ValueError as error:
            raise LoadFailure(f"{error}: {body[:500]}") from error
        if found != rows:
            raise LoadFailure(f"the answer has {found} rows, not {rows}: {body[:500]}")


def run(target: Target, connections: int, seconds: float) -> Load:
    """Keeps so many connections busy for so long. Raises LoadFailure if a single request failed."""
    with tempfile.TemporaryDirectory(prefix="rowgate-load-") as directory:
        script = Path(directory) / "load.lua"
        script.write_text(target.script())
        command = [
            "wrk", f"-t{min(connections, 2)}", f"-c{connections}", f"-d{seconds:g}s", f"--timeout={TIMEOUT_SECONDS}s",
            "-s", str(script), target.address() + target.request.path,
        ]
        done = subprocess.run(command, capture_output=True, text=True, env=clean_environ(), check=False)
    result = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    if result is None:
        raise EnvironmentFailure(f"wrk: {(done.stderr or done.stdout).strip()[-1000:]}")
    requests, duration, p50, p99, p999, refused, broken = (int(figure) for figure in result[1].split())
    if refused or broken:
        raise LoadFailure(f"{refused} of {requests} requests were refused, {broken} got no whole answer")
    if requests == 0:
        raise LoadFailure("not a single request was answered")
    return Load(requests, duration / 1e6, p50, p99, p999)
