"""Fake Redis: a socket server that answers an agent's commands as it is told to, wrongly on purpose or not at all."""

import contextlib
import math
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable

from hms_svc.resp import MORE, Reader

SUBSCRIBED = b"*3\r\n$9\r\nsubscribe\r\n$9\r\ncfg::IACB\r\n:1\r\n"
PONG = b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"


def bulk(data: bytes | str | None) -> bytes:
    raw = data.encode() if isinstance(data, str) else data
    return b"$-1\r\n" if raw is None else b"$%d\r\n%b\r\n" % (len(raw), raw)


def message(data: bytes | str) -> bytes:
    """A message on the tenant's channel, as a subscriber gets it."""
    return b"*3\r\n$7\r\nmessage\r\n$9\r\ncfg::IACB\r\n" + bulk(data)


class FakeRedis:
    """Listens on a port of its own. `answers` by command; "" is for every other one; None says nothing."""

    def __init__(self) -> None:
        self.snapshot: str | None = None
        self.answers: dict[str, bytes | Callable[[socket.socket], None] | None] = {}
        self.pause = 0.0  # between the bytes of an answer
        self.attempts: list[float] = []
        self.serving: Callable[[socket.socket], bool] = lambda _: True
        self.listeners: list[socket.socket] = []
        # On one connection an answer does not begin inside a message; the other connections are free.
        self._one_at_a_time: dict[socket.socket, threading.Lock] = defaultdict(threading.Lock)
        self._server = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self.attempts.append(time.monotonic())
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        reader = Reader()
        with client, contextlib.suppress(OSError):
            if not self.serving(client):
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data := client.recv(65_536):
                reader.feed(data)
                while (words := reader.gets()) is not MORE:
                    self._answer(client, words[0].decode())

    def _answer(self, client: socket.socket, command: str) -> None:
        if command == "SUBSCRIBE":
            self.listeners.append(client)
        usual = {"SUBSCRIBE": SUBSCRIBED, "PING": PONG, "GET": bulk(self.snapshot), "XADD": bulk("1-1")}
        answer = self.answers.get(command, self.answers.get("", usual.get(command, b"+OK\r\n")))
        if callable(answer):
            answer(client)
        elif answer is not None:
            with self._one_at_a_time[client]:
                self._write(client, answer, self.pause)

    @staticmethod
    def _write(client: socket.socket, data: bytes, pause: float, seconds: float = math.inf) -> None:
        if not pause:
            client.sendall(data)
            return
        hurry_at = time.monotonic() + seconds
        for at in range(len(data)):
            client.sendall(data[at : at + 1])
            if time.monotonic() < hurry_at:
                time.sleep(pause)

    def send(self, data: bytes, *, pause: float = 0.0) -> None:
        """To whoever is subscribed, all at once or byte by byte; for a second at most, or PING's answer is missed."""
        for listener in list(self.listeners):
            try:
                with self._one_at_a_time[listener]:
                    self._write(listener, data, pause, seconds=1.0)
            except OSError:
                self.listeners.remove(listener)

    def heal(self) -> None:
        self.answers, self.pause, self.serving = {}, 0.0, lambda _: True

    def close(self) -> None:
        self._server.close()
        for listener in self.listeners:
            listener.close()
