"""One family of errors with stable codes.

Every error a caller may see derives from `HmsError`. The API edge turns it into problem+json; anything
else that escapes is a bug and is shown as a bare 500 without its words.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Problem(NamedTuple):
    """One thing wrong with an input: a JSON pointer (RFC 6901) to the field, and words for a person."""

    pointer: str
    detail: str


# A pointer tells where; it need not repeat all of a name that somebody made endless.
_LONGEST_STEP = 128


def pointer(*steps: object) -> str:
    """Write a JSON pointer from its steps: keys as they came, even such as no answer could repeat, and indices."""
    return "".join("/" + sayable(str(step)[:_LONGEST_STEP]).replace("~", "~0").replace("/", "~1") for step in steps)


def sayable(text: str) -> str:
    """Show half a surrogate pair, which JSON can name but UTF-8 cannot write, by its number."""
    return text.encode(errors="backslashreplace").decode()


class HmsError(Exception):
    """Base of all errors that callers may see. `code` is stable; the words may change.

    `facts` are what a program needs to go on, beside the words: further members of the problem document.
    """

    code = "error"

    def __init__(self, detail: str, problems: Sequence[Problem] = (), facts: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.problems = tuple(problems)
        self.facts = dict(facts or {})


class Invalid(HmsError):
    """The input breaks a rule; `problems` names each field."""

    code = "invalid"

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> "Invalid":
        """Build the error for a non-empty list of problems; the first one leads."""
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return cls(problems[0].detail + more, problems)


class TooLarge(HmsError):
    """The request is beyond what is read at all."""

    code = "too_large"


class UnsupportedMedia(HmsError):
    """The body is neither JSON nor YAML."""

    code = "unsupported_media"


class Unauthenticated(HmsError):
    """No token, or one that is unknown or revoked."""

    code = "unauthenticated"


class Forbidden(HmsError):
    """The actor's role or tenant does not allow this."""

    code = "forbidden"


class NotFound(HmsError):
    """Nothing of that name exists in what the actor may see."""

    code = "not_found"


class Conflict(HmsError):
    """The thing is not in a state that allows this, or changed meanwhile."""

    code = "conflict"


class PatchConflict(Conflict):
    """Another patch sets the same knob at the same time; `facts` name it and the next free slot."""

    code = "patch_conflict"


class QuotaExceeded(Conflict):
    """The tenant's quota would be exceeded; `facts` tell when and by how much."""

    code = "quota_exceeded"


class Frozen(Conflict):
    """A freeze is on; `facts` name it and its end."""

    code = "frozen"


class PreconditionFailed(HmsError):
    """If-Match names another state than the present one."""

    code = "precondition_failed"


class RateLimited(HmsError):
    """Too many requests by this token or tenant; `facts["retry_after"]` tells in how many seconds to come again."""

    code = "rate_limited"


class KeyReused(HmsError):
    """An Idempotency-Key came back with another body."""

    code = "idempotency_key_reused"


class Unavailable(HmsError):
    """Something this call needs does not answer now; trying again later is right."""

    code = "unavailable"
