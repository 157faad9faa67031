"""A load generator that costs little beside what it measures: HTTP/1.1 over plain sockets, requests made beforehand."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple


class Measured(NamedTuple):
    """One run: how long it took in all, each answer's time, and how often each status came. Seconds."""

    seconds: float
    latencies: list[float]
    statuses: Counter[int]

    @property
    def rate(self) -> float:
        """Return the answers a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Return the latency that this share of the answers stayed below, in seconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def request(path: str, body: bytes, token: str = "") -> bytes:
    """Write one POST with a JSON body."""
    head = f"POST {path} HTTP/1.1\r\nHost: benchmark\r\nContent-Type: application/json\r\n"
    if token:
        head += f"Authorization: Bearer {token}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def run(port: int, requests: Sequence[bytes], connections: int) -> Measured:
    """Send the requests over some connections at once, each one after the answer to the one before it."""
    waiting, latencies, statuses = list(requests), list[float](), Counter[int]()

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while waiting:
            sent = time.perf_counter()
            writer.write(waiting.pop())
            statuses[await _answer(reader)] += 1
            latencies.append(time.perf_counter() - sent)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(connection() for _ in range(connections)))
    return Measured(time.perf_counter() - began, latencies, statuses)


async def _answer(reader: asyncio.StreamReader) -> int:
    """Read one answer whole and return its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
    await reader.readexactly(length)
    return int(lines[0].split()[1])
