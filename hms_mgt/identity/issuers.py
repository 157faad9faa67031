"""Reads `HMS_OIDC`: whose tokens are taken, and for what. What it does not understand, it refuses at the start."""

import re
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from hms_mgt.domain import ids
from hms_mgt.domain.access import Role
from hms_mgt.domain.identity import Binding, Issuer
from hms_mgt.domain.service_token import scope_problems
from hms_mgt.domain.workload import Value, workload_problems
from hms_mgt.errors import Invalid, Problem, pointer
from hms_svc import yaml_tree

# Signatures that only the issuer can make. Nothing with a shared secret, and never `none`.
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
ALGORITHMS: tuple[str, ...] = get_args(Algorithm)


def check_url(url: str) -> str:
    """Return the URL if what comes from there can be believed: https, or http on this very machine.

    Raises:
        ValueError: it is another one.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname)):
        raise ValueError("must be an https:// URL")
    if not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment or not url.isprintable():
        raise ValueError("must be a plain URL: a host and a path")
    return url


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return False


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _claim_value(value: Any) -> Value:
    if isinstance(value, bool) or (isinstance(value, str) and value):
        return value
    raise ValueError("must be text, or true or false; put numbers in quotes")


def _alias(name: str) -> str:
    if re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", name) is None:
        raise ValueError("must be 1 to 31 lower-case letters, digits or '-'")
    return name


def _tenant(name: str | None) -> str | None:
    if name is not None and not ids.is_id(name):
        raise ValueError(ids.RULE)
    return name


_Text = Annotated[str, Field(min_length=1, max_length=255)]
_Url = Annotated[str, AfterValidator(check_url)]
_Values = Annotated[list[Annotated[Any, AfterValidator(_claim_value)]], BeforeValidator(_listed), Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Binding(_Strict):
    match: Annotated[dict[_Text, _Values], Field(min_length=1)]
    role: Role
    # To be said in so many words: leaving it out must not mean every tenant.
    tenant: Annotated[str | None, AfterValidator(_tenant)]


class _Issuer(_Strict):
    name: Annotated[str, AfterValidator(_alias)]
    issuer: _Url
    audience: Annotated[list[_Text], BeforeValidator(_listed), Field(min_length=1)]
    algorithms: Annotated[list[Algorithm], Field(min_length=1)]
    jwks_uri: _Url | None = None
    leeway_s: Annotated[float, Field(strict=True, ge=0, le=120)] = 30
    name_claim: _Text = "sub"
    bindings: Annotated[list[_Binding], Field(min_length=1)]


class OidcFile(_Strict):
    """What the file holds."""

    issuers: list[_Issuer]


def load(path: Path) -> tuple[Issuer, ...]:
    """Read the file.

    Raises:
        Invalid: it cannot be read, or breaks a rule; each with a pointer into it.
    """
    try:
        document = yaml_tree.load(path.read_text(encoding="utf-8"))
        found = OidcFile.model_validate(document)
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid.of([Problem("", f"{path} cannot be read: {error}")]) from None
    except yaml_tree.YamlError as error:
        raise Invalid.of([Problem(error.pointer, str(error))]) from None
    except ValidationError as error:
        raise Invalid.of([_problem(one["loc"], one["msg"]) for one in error.errors()]) from None
    problems = _rules(found)
    if problems:
        raise Invalid.of(problems)
    return tuple(_issuer(one) for one in found.issuers)


def _problem(where: Sequence[int | str], words: str) -> Problem:
    return Problem(pointer(*where), words.removeprefix("Value error, "))


def _rules(found: OidcFile) -> list[Problem]:
    """Check what concerns more than one field."""
    problems: list[Problem] = []
    for field in ("name", "issuer"):
        seen: set[str] = set()
        for index, one in enumerate(found.issuers):
            value = getattr(one, field)
            if value in seen:
                problems.append(Problem(pointer("issuers", index, field), f"{value} stands here twice"))
            seen.add(value)
    for index, one in enumerate(found.issuers):
        for place, binding in enumerate(one.bindings):
            here = pointer("issuers", index, "bindings", place)
            broken = scope_problems(binding.role, binding.tenant)
            broken += workload_problems(one.issuer, binding.match, binding.role)
            problems += [Problem(here + problem.pointer, problem.detail) for problem in broken]
    return problems


def _issuer(one: _Issuer) -> Issuer:
    return Issuer(
        name=one.name,
        issuer=one.issuer,
        audience=frozenset(one.audience),
        algorithms=frozenset(one.algorithms),
        jwks_uri=one.jwks_uri,
        leeway_s=one.leeway_s,
        name_claim=one.name_claim,
        bindings=tuple(Binding(binding.match, binding.role, binding.tenant) for binding in one.bindings),
    )
