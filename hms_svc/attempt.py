"""How far the current attempt came, or else the last one: kept in the journal, shown to people.

RECEIVED and VERIFIED are what a patch has behind it when it is held; an attempt begins there. The step that comes after
the stage reached is the one under way, and the one to name when the agent did not live to see its end. Which new
patches were on trial, and at how many starts in a row, is kept apart: endings in between must not start the count anew.
"""

from typing import Any, Literal, NamedTuple, TypeAlias

Stage: TypeAlias = Literal["VERIFIED", "CHECKED", "WRITTEN", "RELOADED", "EFFECTIVE", "FAILED"]
STAGES: tuple[Stage, ...] = ("VERIFIED", "CHECKED", "WRITTEN", "RELOADED", "EFFECTIVE")
MOST_STARTS = 3
"""How often an agent may go down with the same new patches before they are to blame."""


class Attempt(NamedTuple):
    """Which patches it is about, the fingerprint of the files, since when, the stage, and where and why it failed."""

    ids: tuple[int, ...]
    sha: str
    since: str
    stage: Stage
    failed: tuple[str, str] | None = None

    @property
    def open(self) -> bool:
        """Whether it was neither confirmed nor given up."""
        return self.stage not in ("EFFECTIVE", "FAILED")

    @property
    def step(self) -> str:
        """The step under way, by the name of the stage it leads to."""
        return STAGES[STAGES.index(self.stage) + 1].lower() if self.open else self.stage.lower()

    def record(self) -> dict[str, Any]:
        """As it stands in the journal."""
        return {**self._asdict(), "ids": list(self.ids)}


class Trial(NamedTuple):
    """New patches an attempt was made with, and at how many starts of the agent in a row it came to no end."""

    ids: tuple[int, ...]
    starts: int

    def again(self, ids: tuple[int, ...]) -> "Trial":
        """The trial of these patches at another start of the agent."""
        return Trial(ids, self.starts + 1 if set(ids) & set(self.ids) else 1)


def read_attempt(record: dict[str, Any] | None) -> Attempt | None:
    """From the journal; ValueError, KeyError or TypeError when it is none."""
    if not record:
        return None
    stage = record["stage"]
    if stage not in (*STAGES, "FAILED"):
        return None  # a later version's word
    failed = tuple(map(str, record["failed"])) if record["failed"] else None
    return Attempt(tuple(map(int, record["ids"])), str(record["sha"]), str(record["since"]), stage, failed)  # type: ignore[arg-type]


def read_trial(record: list[Any] | None) -> Trial | None:
    """From the journal, as above."""
    return Trial(tuple(map(int, record[0])), int(record[1])) if record else None
