"""Serves the API with uvicorn, which lets requests finish before it ends; streams would never finish by themselves."""

import socket
from typing import Any

import uvicorn
from fastapi import FastAPI


class Server(uvicorn.Server):
    """A server that, when it is to end, first ends the streams that are open."""

    def __init__(self, app: FastAPI, trusted_proxies: str = "", **options: Any) -> None:
        options |= {"log_level": "warning", "access_log": False, "server_header": False}
        # Where a request came from stands in the audit: it is nobody's to make up, not even on this machine.
        super().__init__(uvicorn.Config(app, forwarded_allow_ips=trusted_proxies, **options))
        self._wakeups = app.state.wakeups

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then everything as uvicorn does."""
        self._wakeups.close()
        await super().shutdown(sockets)
