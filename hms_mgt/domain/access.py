"""Who may do what: roles, what each is allowed, and the tenant a token is for."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from hms_mgt.errors import Forbidden, Problem


class Role(StrEnum):
    """A role a token carries."""

    VIEWER = "viewer"
    RELEASE_MANAGER = "release_manager"
    APPROVER = "approver"
    AUDITOR = "auditor"
    PLATFORM_ADMIN = "platform_admin"


class Permission(StrEnum):
    """Something a role may be allowed."""

    READ = "read"
    SUBMIT = "submit a patch"
    END = "cancel or roll back a patch"


_READ_ONLY = frozenset({Permission.READ})
ALLOWED: Mapping[Role, frozenset[Permission]] = {
    Role.VIEWER: _READ_ONLY,
    Role.APPROVER: _READ_ONLY,
    Role.AUDITOR: _READ_ONLY,
    Role.RELEASE_MANAGER: frozenset(Permission),
    # An administrator may stop things, never start them: changes come from release managers only.
    Role.PLATFORM_ADMIN: frozenset({Permission.READ, Permission.END}),
}


class Actor(NamedTuple):
    """Who calls. `tenant` is None for a token that is good for every tenant."""

    name: str
    role: Role
    tenant: str | None


def require(actor: Actor, permission: Permission) -> None:
    """Raise `Forbidden` unless the actor's role has the permission."""
    if permission not in ALLOWED[actor.role]:
        raise Forbidden(f"role {actor.role} may not {permission}")


def require_tenant(actor: Actor, tenant: str) -> None:
    """Raise `Forbidden` unless the actor's token is for this tenant."""
    if actor.tenant is not None and actor.tenant != tenant:
        detail = f"this token is for tenant {actor.tenant}, not for {tenant}"
        raise Forbidden(detail, [Problem("/tenant", detail)])
