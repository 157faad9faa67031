"""Stand-in for a served process: a small real HTTP server that takes SIGHUP in one of the ways real ones do.

A program of its own: `served.py CONF PORT PIDFILE NAME WAY`. It shows the limit it loaded in a header and in the body,
and the SHA-256 of the conf.yml it loaded. `Served` starts it for a test.
"""

import ctypes
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

if __package__:  # as a program it stands alone
    from .rig import free_port, until

SLOW_SECONDS = 3.0
PREFORK_SECONDS = 0.3
LATER_SECONDS = 0.4
LATE_SECONDS = 0.6
GAP_SECONDS = 0.3
PR_SET_NAME = 15


class Server:
    """The server. `told` is its handler of SIGHUP."""

    def __init__(self, conf: str, port: int) -> None:
        self.conf = Path(conf)
        self.listener = socket.create_server(("127.0.0.1", port), backlog=100)
        self.hung: list[socket.socket] | None = None
        self.load_at = self.end_at = float("inf")
        self.hups = 0
        self.tasks: list[Callable[[], None]] = []  # for the main thread, which alone may set handlers
        self.load()

    def load(self) -> None:
        raw = self.conf.read_bytes()
        found = re.search(rb"^rate_limit_rps: (\S+)", raw, re.MULTILINE)
        self.limit = found[1].decode() if found else ""
        self.sha = hashlib.sha256(raw).hexdigest()

    def serve(self) -> None:
        self.listener.settimeout(0.02)
        while time.monotonic() < self.end_at:
            if time.monotonic() > self.load_at:
                self.load_at = float("inf")
                self.load()
            while self.tasks:
                self.tasks.pop()()
            try:
                client, _ = self.listener.accept()
            except TimeoutError:
                continue
            if self.hung is not None:
                self.hung.append(client)
                continue
            self.answer(client)

    def answer(self, client: socket.socket) -> None:
        body = f"limit={self.limit} hups={self.hups}\n"
        head = f"X-Limit: {self.limit}\r\nX-Conf: {self.sha}\r\nContent-Length: {len(body)}\r\n"
        try:
            client.settimeout(1)
            client.recv(4096)
            client.sendall(f"HTTP/1.1 200 OK\r\n{head}\r\n{body}".encode())
        except OSError:
            return
        finally:
            client.close()

    # --- the ways to take a SIGHUP

    def way_reload(self) -> None:
        self.load()

    def way_reject(self) -> None:
        """As nginx does with a file it cannot use: goes on with what it has."""
        before = self.limit, self.sha
        self.load()
        if int(self.limit) > 100:
            self.limit, self.sha = before

    def way_ignore(self) -> None:
        return

    def way_hang(self) -> None:
        self.hung = []

    def way_slow(self) -> None:
        self.load_at = time.monotonic() + SLOW_SECONDS

    def way_later(self) -> None:
        self.load()
        self.end_at = time.monotonic() + LATER_SECONDS

    def way_exec(self) -> None:
        os.execvp("sleep", ["sleep", "60"])  # noqa: S606 - that is the point

    def way_end(self) -> None:
        os._exit(0)

    def way_crashes(self) -> None:
        self.way_end()

    def heed(self, way: str) -> None:
        act: Callable[[], None] | None = getattr(self, f"way_{way}", None)

        def told(*_: object) -> None:
            self.hups += 1
            if act:
                act()

        signal.signal(signal.SIGHUP, told if act else signal.SIG_DFL)


def run(conf: str, port: int, pidfile: Path, way: str) -> None:
    server = Server(conf, port)
    if way == "late":  # the handler comes after the pid file
        threading.Timer(LATE_SECONDS, lambda: server.tasks.append(lambda: server.heed("reload"))).start()
    else:
        server.heed(way)
    if way == "crashes" and int(server.limit) > 100:
        server.end_at = time.monotonic() + LATER_SECONDS
    pidfile.write_text(f"{os.getpid()}\n")
    server.serve()


def daemonise(conf: str, port: int, pidfile: Path) -> None:
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    run(conf, port, pidfile, "reload")


def with_threads(conf: str, port: int, pidfile: Path, *, name_a_thread: bool) -> None:
    """The main thread waits for signals, another one serves."""
    server = Server(conf, port)
    server.heed("reload")
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    pidfile.write_text(f"{thread.native_id if name_a_thread else os.getpid()}\n")
    while True:
        time.sleep(60)


def supervise(conf: str, port: int, pidfile: Path, way: str) -> None:
    """A supervisor: its child ends on SIGHUP and is started again, and for a moment the pid file is not there."""
    while True:
        child = os.fork()
        if not child:
            rename(os.environ["SERVED_NAME"])
            run(conf, port, pidfile, way)
        os.waitpid(child, 0)
        pidfile.unlink()
        time.sleep(GAP_SECONDS)


def prefork(conf: str, port: int, pidfile: Path) -> None:
    """A master that replaces its worker on SIGHUP, in its own time; the old one serves until then."""
    server = Server(conf, port)
    told = threading.Event()
    signal.signal(signal.SIGHUP, lambda *_: told.set())
    worker = fork_worker(server)
    pidfile.write_text(f"{os.getpid()}\n")
    while True:
        told.wait(60)
        told.clear()
        time.sleep(PREFORK_SECONDS)
        server.load()
        old, worker = worker, fork_worker(server)
        os.kill(old, signal.SIGKILL)
        os.waitpid(old, 0)


def fork_worker(server: Server) -> int:
    worker = os.fork()
    if not worker:
        server.serve()
    return worker


def rename(name: str) -> None:
    ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode())


def main(conf: str, port: str, pidfile: str, name: str, way: str) -> None:
    os.environ["SERVED_NAME"] = name
    rename("supervisor" if way in {"supervised", "crashes"} else name)
    place = (conf, int(port), Path(pidfile))
    if way == "daemon":
        daemonise(*place)
    elif way in {"threads", "names_a_thread"}:
        with_threads(*place, name_a_thread=way == "names_a_thread")
    elif way in {"supervised", "crashes"}:
        supervise(*place, "crashes" if way == "crashes" else "end")
    elif way == "prefork":
        prefork(*place)
    else:
        run(*place, way)


class Served:
    """The stand-in as a test sees it. `wrapper` runs it somewhere else, such as in a namespace or as another user."""

    def __init__(self, directory: Path, conf: Path, way: str, wrapper: tuple[str, ...] = ()) -> None:
        self.port, self.conf, self.pidfile = free_port(), conf, directory / "served.pid"
        self.name = f"hms-s{os.getpid() % 100_000_000}"
        self.way, self._wrapper = way, wrapper
        self.start()

    def start(self, way: str = "") -> None:
        words = [str(self.conf), str(self.port), str(self.pidfile), self.name, way or self.way]
        command = [*self._wrapper, sys.executable, __file__, *words]
        self.popen = subprocess.Popen(command, process_group=0)
        until(self.limit, "the stand-in to answer")

    @property
    def pid(self) -> int:
        return int(self.pidfile.read_text())

    def ask(self) -> str:
        """Its whole answer; "" when there is none."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as sock:
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                return b"".join(iter(lambda: sock.recv(4096), b"")).decode()
        except OSError:
            return ""

    def limit(self) -> str:
        found = re.search(r"limit=(\S*)", self.ask())
        return found[1] if found else ""

    def hups(self) -> int:
        found = re.search(r"hups=(\d+)", self.ask())
        return int(found[1]) if found else 0

    def settings(self) -> dict[str, str]:
        return {
            "HMS_PIDFILE": str(self.pidfile),
            "HMS_PROCESS": self.name,
            "HMS_PROBE_URL": f"http://127.0.0.1:{self.port}/",
            "HMS_PROBE_HEADER": "X-Limit: {{rate_limit_rps}}",
            "HMS_CONFIRM_TIMEOUT": "1",
        }

    def stop(self) -> None:
        for pid in {self.popen.pid, self._daemon()} - {0}:
            try:
                os.killpg(os.getpgid(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.popen.wait()

    def _daemon(self) -> int:
        """A daemon has left the group of who started it."""
        return self.pid if self.way == "daemon" and self.pidfile.exists() else 0


if __name__ == "__main__":
    main(*sys.argv[1:])
