"""Which versions a patch is for: version selectors, and the order of versions they rest on.

Semantic versioning puts every hyphenated suffix below its release, so `2.1.0-cdc-boosters` would fail
`>=2.1.0` in every semver library. Here a suffix is a pre-release only when its first identifier says so
(`rc`, `beta.2`, `SNAPSHOT`); any other suffix names a build variant, equal to its release in order. A pre-
release is matched only by an alternative that names a pre-release of the same triple. Written out here
because the sidecar carries it, and the `semver` package costs 1.4 MiB that these lines do not.
"""

import operator
import re
from functools import lru_cache
from typing import NamedTuple, TypeAlias

MAX_CHARS = 256
"""The longest version or selector read."""

Triple: TypeAlias = tuple[int, int, int]
Stage: TypeAlias = tuple[tuple[int, int, str, int], ...]
Order: TypeAlias = tuple[Triple, bool, Stage]

_NUMBER = r"(?:0|[1-9][0-9]*)"
_IDENTIFIERS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_VERSION = re.compile(rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-({_IDENTIFIERS}))?(?:\+{_IDENTIFIERS})?")
_PARTIAL = re.compile(rf"({_NUMBER})(?:\.({_NUMBER}))?")
_WILDCARD = re.compile(rf"[xX*]|({_NUMBER})\.[xX*](?:\.[xX*])?|({_NUMBER})\.({_NUMBER})\.[xX*]")
_PRE_RELEASE = re.compile(r"(?:alpha|beta|rc|dev|preview|pre|snapshot)(?:-?[0-9]+)?", re.IGNORECASE)
_SIGNS = (">=", "<=", ">", "<", "=", "~", "^")
_COMPARE = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "=": operator.eq}
_WORD_NUMBER = re.compile(r"(.*?)([0-9]*)")


class VersionError(ValueError):
    """A text that is not a version, with words for whoever wrote it."""


class SelectorError(ValueError):
    """A text that is not a version selector, with words for whoever wrote it."""


class Version(NamedTuple):
    """One version. Selectors compare `order`; versions sort by it, a release before its variants."""

    order: Order
    variant: str
    """The suffix of a build variant, else empty."""
    text: str

    @property
    def triple(self) -> Triple:
        """Major, minor and patch number."""
        return self.order[0]

    @property
    def is_pre_release(self) -> bool:
        """Whether it comes before its release."""
        return not self.order[1]

    @staticmethod
    @lru_cache(maxsize=512)
    def parse(text: str) -> "Version":
        """Read a version such as `2.1.0`, `2.1.0-cdc-boosters` or `2.2.0-rc.1`; `+metadata` means nothing.

        Raises:
            VersionError: it is not one.
        """
        if len(text) > MAX_CHARS:
            raise VersionError(f"a version has at most {MAX_CHARS} characters, not {len(text)}")
        match = _VERSION.fullmatch(text)
        if not match:
            raise VersionError(f"{text!r} is not a version: {_complaint(text)}")
        major, minor, patch, suffix = match.groups(default="")
        return _version((int(major), int(minor), int(patch)), suffix, text)


def _version(triple: Triple, suffix: str, text: str) -> Version:
    if not _PRE_RELEASE.fullmatch(suffix.partition(".")[0]):
        return Version((triple, True, ()), suffix, text)
    stage = tuple(_identifier(part, text) for part in suffix.lower().split("."))
    return Version((triple, False, stage), "", text)


def _identifier(part: str, text: str) -> tuple[int, int, str, int]:
    """A sort key: numbers by value and before words, `rc2` before `rc10`."""
    if not part.isdigit():
        word, digits = _WORD_NUMBER.fullmatch(part).groups()  # type: ignore[union-attr] # it matches any text
        return (1, 0, word, int(digits or -1))
    if part[0] == "0" and part != "0":
        raise VersionError(f"{text!r} is not a version: {part!r} has a leading zero")
    return (0, int(part), "", 0)


def _complaint(text: str) -> str:
    if text.strip().lower() == "latest":
        return "'latest' names a moment, not a version"
    if re.match(r"[vV][0-9]", text):
        return "write it without the v"
    if re.match(r"(?:[0-9]+\.)*0[0-9]", text):
        return "a number has no leading zeros"
    return "want three numbers such as 2.1.0, with a suffix such as -rc.1 or -cdc-boosters when there is one"


class Bound(NamedTuple):
    """One comparison of a selector."""

    sign: str
    version: Version

    def holds(self, version: Version) -> bool:
        """Compare in order; an exact bound that names a build variant wants that one."""
        if self.sign == "=" and self.version.variant not in {"", version.variant}:
            return False
        return bool(_COMPARE[self.sign](version.order, self.version.order))

    def names_pre_release_of(self, triple: Triple) -> bool:
        """Whether it lets pre-releases of this triple in."""
        return self.version.is_pre_release and self.version.triple == triple


class Selector(NamedTuple):
    """A parsed selector: alternatives, each of bounds that must all hold."""

    text: str
    alternatives: tuple[tuple[Bound, ...], ...]

    def matches(self, version: str) -> bool:
        """Whether the version is selected. Raises VersionError when it is no version."""
        return self.admits(Version.parse(version))

    def admits(self, version: Version) -> bool:
        """Whether the parsed version is selected."""
        return any(_all_hold(bounds, version) for bounds in self.alternatives)


def _all_hold(bounds: tuple[Bound, ...], version: Version) -> bool:
    if version.is_pre_release and not any(bound.names_pre_release_of(version.triple) for bound in bounds):
        return False
    return all(bound.holds(version) for bound in bounds)


@lru_cache(maxsize=512)
def parse_selector(text: str) -> Selector:
    """Read `>=2.1.0`, `>=2.1,<3`, `~2.1`, `^2`, `2.1.x`, `*`, an exact version, or several joined by `||`.

    Raises:
        SelectorError: it is not one.
    """
    if len(text) > MAX_CHARS:
        raise SelectorError(f"a selector has at most {MAX_CHARS} characters, not {len(text)}")
    try:
        return Selector(text, tuple(_alternative(part) for part in text.split("||")))
    except ValueError as error:
        raise SelectorError(f"{text!r} is not a version selector: {error}") from None


def _alternative(part: str) -> tuple[Bound, ...]:
    return tuple(bound for term in part.split(",") for bound in _bounds(term.strip()))


def _bounds(term: str) -> tuple[Bound, ...]:
    """The bounds one term stands for: two for `~`, `^` and wildcards, none for `*`."""
    sign = next((sign for sign in _SIGNS if term.startswith(sign)), "")
    operand = term.removeprefix(sign).strip()
    wildcard = _WILDCARD.fullmatch(operand)
    if wildcard and sign:
        raise SelectorError(f"{sign} and a wildcard do not go together")
    if wildcard:
        return _wildcard_bounds(_numbers(wildcard))
    return _comparison(sign or "=", operand)


def _comparison(sign: str, operand: str) -> tuple[Bound, ...]:
    partial = _PARTIAL.fullmatch(operand)
    numbers = _numbers(partial) if partial else ()
    version = _release(numbers) if partial else Version.parse(operand)
    if sign == "~":
        return Bound(">=", version), Bound("<", _ceiling((numbers or version.triple)[:2]))
    if sign == "^":
        return Bound(">=", version), Bound("<", _ceiling(_leading(numbers or version.triple)))
    return (Bound(sign, version),)


def _wildcard_bounds(numbers: tuple[int, ...]) -> tuple[Bound, ...]:
    return (Bound(">=", _release(numbers)), Bound("<", _ceiling(numbers))) if numbers else ()


def _leading(numbers: tuple[int, ...]) -> tuple[int, ...]:
    """The numbers `^` holds fast: up to the first that is not zero, or all there are."""
    nonzero = next((i for i, number in enumerate(numbers) if number), len(numbers) - 1)
    return numbers[: nonzero + 1]


def _ceiling(numbers: tuple[int, ...]) -> Version:
    """The first release above all that begin with these numbers."""
    return _release((*numbers[:-1], numbers[-1] + 1))


def _release(numbers: tuple[int, ...]) -> Version:
    major, minor, patch = (*numbers, 0, 0)[:3]
    return Version(((major, minor, patch), True, ()), "", f"{major}.{minor}.{patch}")


def _numbers(match: re.Match[str]) -> tuple[int, ...]:
    return tuple(int(number) for number in match.groups() if number is not None)
