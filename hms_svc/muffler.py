"""Keeps the same line from being written ten thousand times: a few a minute, and how many were left out since."""

LINES_A_MINUTE = 10
MINUTE_SECONDS = 60.0


class Muffler:
    """Counts lines by kind; there are only so many kinds."""

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[float, int]] = {}

    def pass_on(self, kind: str, now: float) -> dict[str, int] | None:
        """What to add to a line that may be written, None for one that may not. `now` is the monotonic clock."""
        since, count = self._kinds.get(kind, (now, 0))
        if now - since >= MINUTE_SECONDS:
            left_out = max(count - LINES_A_MINUTE, 0)
            self._kinds[kind] = (now, 1)
            return {"left_out": left_out} if left_out else {}
        self._kinds[kind] = (since, count + 1)
        return {} if count < LINES_A_MINUTE else None
