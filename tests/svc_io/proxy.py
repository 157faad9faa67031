"""A TCP proxy between the agent and Redis that can stop forwarding without closing anything: a half-open link."""

import socket
import threading
import time

from .rig import free_port


class Proxy:
    """Forwards to one port; what is swallowed is swallowed on new connections, too.

    `silent` swallows both directions, `deaf` what goes to Redis, `mute` what comes from it. `break_at` makes it silent
    at the first command of that name; `broke_at` is when that was (epoch seconds).
    """

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self.silent = self.deaf = self.mute = False
        self.break_at = b""
        self.broke_at = 0.0
        self.accepted = 0
        self._sockets: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", self.port))
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
            self.accepted += 1
            upstream = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [client, upstream]
            for source, sink, up in ((client, upstream, True), (upstream, client, False)):
                threading.Thread(target=self._pump, args=(source, sink, up), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, up: bool) -> None:  # noqa: FBT001 - a thread's argument
        try:
            while data := source.recv(65_536):
                if up and self.break_at and self.break_at in data:
                    self.silent, self.broke_at, self.break_at = True, time.time(), b""
                if not (self.silent or (self.deaf if up else self.mute)):
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def heal(self) -> None:
        self.silent = self.deaf = self.mute = False

    def close(self) -> None:
        for sock in (self._server, *self._sockets):
            sock.close()
