"""Kubernetes quantities, such as `16`, `500m` and `1.5Gi`, as whole millionths: sums of them are exact."""

import re
from collections.abc import Mapping
from typing import Any

_WRITTEN = re.compile(r"(\d{1,12})(?:\.(\d{1,3}))?(m|k|M|G|T|Ki|Mi|Gi|Ti)?", re.ASCII)
# How many of them one is.
ONE = 10**6
_UNITS: Mapping[str, int] = {
    "": ONE,
    "m": ONE // 1000,
    **{name: ONE * 1024**power for power, name in enumerate(("Ki", "Mi", "Gi", "Ti"), 1)},
    **{name: ONE * 1000**power for power, name in enumerate(("k", "M", "G", "T"), 1)},
}
# Nobody speaks of a thousand processors as 1k.
_OF_CPU = ("", "m")


def is_quantity(value: Any) -> bool:
    """Tell whether this is the text of a quantity."""
    return isinstance(value, str) and _WRITTEN.fullmatch(value) is not None


def parse(text: str) -> int:
    """Read a quantity as whole millionths.

    Raises:
        ValueError: it is not one.
    """
    match = _WRITTEN.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:64]!r} is not a quantity")
    whole, fraction, unit = match.groups(default="")
    return (int(whole) * 1000 + int(fraction.ljust(3, "0"))) * (_UNITS[unit] // 1000)


def cpu(amount: int) -> str:
    """Write an amount of processors: `14`, or `14500m` where it is not whole."""
    return _written(amount, _OF_CPU)


def memory(amount: int) -> str:
    """Write an amount of bytes, with the unit that makes it shortest: `20Gi`, `1536Mi`, `2G`."""
    return _written(amount, tuple(_UNITS))


def _written(amount: int, units: tuple[str, ...]) -> str:
    texts = [f"{amount // _UNITS[unit]}{unit}" for unit in units if amount % _UNITS[unit] == 0]
    return min(texts, key=len) if texts else f"{amount // 1000}.{amount % 1000:03}m"
