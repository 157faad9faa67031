"""Who a verified token speaks for: what its claims must hold, and which role and tenant its issuer's bindings give.

A role comes from the operator's bindings alone. No claim names a role or a tenant, so none can widen one.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from hms_mgt.domain import workload
from hms_mgt.domain.access import Actor, Role
from hms_mgt.domain.workload import Value
from hms_mgt.errors import Unauthenticated

LARGEST = 8192
"""The longest credential that is looked at, in characters."""
_LONGEST_TEXT = 255
# Epoch seconds far beyond every clock.
_NEVER = 10**12
_TYPES = frozenset({"jwt", "at+jwt"})


class Binding(NamedTuple):
    """Gives a role to the tokens whose claims have these values: each claim one of its values, letter by letter."""

    match: Mapping[str, Sequence[Value]]
    role: Role
    # None is for every tenant.
    tenant: str | None

    @property
    def for_pipelines(self) -> bool:
        """Tell whether it is for pipelines, and so not for people."""
        return workload.is_for_pipelines(self.match)


class Issuer(NamedTuple):
    """Who vouches for people or pipelines, and what of its words is taken."""

    # Short, and the first part of its subjects' names in the audit.
    name: str
    issuer: str
    audience: frozenset[str]
    algorithms: frozenset[str]
    # Where its keys are; None: where its discovery document says.
    jwks_uri: str | None
    leeway_s: float
    name_claim: str
    bindings: tuple[Binding, ...]


class Stranger(NamedTuple):
    """Somebody whom an issuer vouches for and no binding names."""

    name: str
    issuer: str


def is_jwt(credential: str) -> bool:
    """Tell whether a bearer is a JWT; anything else can only be a service token."""
    return credential.count(".") == 2 and not credential.startswith("hms_")


def check_header(header: Mapping[str, Any]) -> None:
    """Check what a token says of its own form. Keys that it brings along or points to are nobody's keys.

    Raises:
        Unauthenticated: it is of another type, or asks for what is not understood here.
    """
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in _TYPES:
        raise Unauthenticated("this token is of another type than JWT")
    if "crit" in header or "b64" in header:
        raise Unauthenticated("this token asks for an extension that is not supported")


def check_claims(issuer: Issuer, claims: Mapping[str, Any], now: datetime) -> None:
    """Check whose word the claims are, for whom, and when.

    Raises:
        Unauthenticated: with words on which of these does not hold.
    """
    if claims.get("iss") != issuer.issuer:
        raise Unauthenticated("this token is from an issuer that is not known here")
    if not issuer.audience & _audience(claims.get("aud")):
        raise Unauthenticated("this token is not for this audience")
    _check_times(issuer, claims, now.timestamp())
    _text(claims, "sub")


def _audience(value: Any) -> frozenset[str]:
    values = value if isinstance(value, list) else [value]
    return frozenset(values) if all(isinstance(one, str) for one in values) else frozenset()


def _check_times(issuer: Issuer, claims: Mapping[str, Any], now: float) -> None:
    if "exp" not in claims:
        raise Unauthenticated("this token has no expiry")
    if _seconds(claims, "exp") + issuer.leeway_s <= now:
        raise Unauthenticated("this token has expired")
    for name in ("nbf", "iat"):
        if name in claims and _seconds(claims, name) - issuer.leeway_s > now:
            raise Unauthenticated("this token is not valid yet")


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    value = claims[name]
    # True is a number too, and JSON can write numbers beyond every float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _NEVER:
        raise Unauthenticated(f"this token's {name} is not an instant")
    return value


def subject(issuer: Issuer, claims: Mapping[str, Any]) -> Actor | Stranger:
    """Return who this is: the first binding that matches decides. People's bindings fit no pipeline's token.

    Raises:
        Unauthenticated: the claim that names the actor is missing or not one line of text.
    """
    name = f"{issuer.name}:{_text(claims, issuer.name_claim)}"
    pipeline = workload.is_of_pipeline(claims)
    eligible = [one for one in issuer.bindings if one.for_pipelines or not pipeline]
    found = next((one for one in eligible if _matches(one, claims)), None)
    if found is None:
        return Stranger(name, issuer.name)
    return Actor(name, found.role, found.tenant, pipeline=found.for_pipelines)


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TEXT:
        raise Unauthenticated(f"this token has no {name}, or one that is too long")
    if not value.isprintable() or value != value.strip():
        raise Unauthenticated(f"this token's {name} is not one line of plain text")
    return value


def _matches(binding: Binding, claims: Mapping[str, Any]) -> bool:
    return all(name in claims and _one_of(claims[name], values) for name, values in binding.match.items())


def _one_of(claim: Any, values: Sequence[Value]) -> bool:
    """Tell whether the claim is one of these values or, being a list, has one of them."""
    held = claim if isinstance(claim, list) else [claim]
    # True equals 1 in Python and in no token.
    return any(type(one) is type(value) and one == value for one in held for value in values)
