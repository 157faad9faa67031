"""A stand-in for nginx where none is installed: a small HTTP service that re-reads conf.yml on SIGHUP.

It sends `X-RPS-Limit` with every answer and enforces the limit with a token bucket for all clients together.
Usage: python -m hms_mgt.demo.served CONF PORT PIDFILE
"""

import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from hms_svc import yaml_tree

_BURST = 20


class Limit:
    """A token bucket: `rate` requests a second, and a few more at once."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._tokens = float(_BURST)
        self._filled = time.monotonic()
        self._lock = threading.Lock()

    def admit(self) -> bool:
        """Take one request if the bucket has it."""
        with self._lock:
            now = time.monotonic()
            self._tokens = min(_BURST, self._tokens + (now - self._filled) * self.rate)
            self._filled = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


class Service:
    """The service with the limit that its file says now."""

    def __init__(self, conf: Path) -> None:
        self._conf = conf
        self.limit = self._read()

    def reload(self) -> None:
        """Take the limit from the file; a file that cannot be read leaves the old one in force."""
        try:
            self.limit = self._read()
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"keeping the old configuration: {error}", file=sys.stderr, flush=True)  # noqa: T201

    def _read(self) -> Limit:
        return Limit(int(yaml_tree.load(self._conf.read_text())["rate_limit_rps"]))


def handler(service: Service) -> type[BaseHTTPRequestHandler]:
    """Make the request handler for one service."""

    class Handler(BaseHTTPRequestHandler):
        """Answers every GET."""

        def do_GET(self) -> None:
            """Answer 200, or 429 above the limit; the limit is told either way."""
            limit = service.limit
            body = b'{"service": "up"}\n'
            self.send_response(200 if limit.admit() else 429)
            self.send_header("X-RPS-Limit", str(limit.rate))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def main(conf: str, port: str, pidfile: str) -> None:
    """Serve until SIGTERM."""
    service = Service(Path(conf))
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), handler(service))
    # A handler of a signal must not wait for a lock that the interrupted code holds, so it only starts a thread.
    signal.signal(signal.SIGHUP, lambda *_: threading.Thread(target=service.reload).start())
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    Path(pidfile).write_text(f"{os.getpid()}\n")
    server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main(*sys.argv[1:])
