"""An ASGI application that reads conf.yml again on SIGHUP; as a program it checks a conf.yml."""

import asyncio
import hashlib
import os
import signal
import sys

import yaml


class Conf:
    """What is in force, and the fingerprint of the text it was loaded from."""

    def __init__(self, path):
        with open(path, "rb") as file:
            raw = file.read()
        self.values = yaml.safe_load(raw)
        self.sha256 = hashlib.sha256(raw).hexdigest()
        if not isinstance(self.values.get("rate_limit_rps"), int) or self.values["rate_limit_rps"] < 1:
            raise ValueError(f"rate_limit_rps must be a positive number, not {self.values.get('rate_limit_rps')!r}")


class Application:
    """Loads conf.yml at startup and on each SIGHUP. One that is bad changes nothing."""

    def load(self):
        try:
            self.conf = Conf("conf.yml")
        except (OSError, ValueError) as error:
            sys.stderr.write(f"going on with the old configuration: {error}\n")

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await self.live(receive, send)
        elif scope["type"] == "http":
            await self.answer(send)

    async def live(self, receive, send):
        await receive()
        self.conf = Conf("conf.yml")
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.load)
        with open("run/uvicorn.pid", "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def answer(self, send):
        body = f"{self.conf.values['greeting']}, limit={self.conf.values['rate_limit_rps']}\n".encode()
        headers = [(b"content-type", b"text/plain"), (b"x-conf", self.conf.sha256.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


application = Application()

if __name__ == "__main__":
    try:
        Conf(sys.argv[1])
    except ValueError as error:
        sys.exit(str(error))
