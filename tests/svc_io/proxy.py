"""A TCP proxy between the agent and Redis that can stop forwarding without closing anything: a half-open link."""

import socket
import threading

from .rig import free_port


class Proxy:
    """Forwards to one port; `silent` swallows both directions, new connections included."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self.silent = False
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
            for source, sink in ((client, upstream), (upstream, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                if not self.silent:
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def close(self) -> None:
        for sock in (self._server, *self._sockets):
            sock.close()
