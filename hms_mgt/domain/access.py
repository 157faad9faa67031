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
    APPROVE = "approve or reject a patch"
    GOVERN = "set quotas and freezes"
    GOVERN_PLATFORM = "set what binds every tenant"
    READ_AUDIT = "read the audit"
    MANAGE_TOKENS = "see and revoke tokens"


ALLOWED: Mapping[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({Permission.READ}),
    Role.RELEASE_MANAGER: frozenset({Permission.READ, Permission.SUBMIT, Permission.END, Permission.APPROVE}),
    Role.APPROVER: frozenset({Permission.READ, Permission.APPROVE, Permission.GOVERN, Permission.READ_AUDIT}),
    Role.AUDITOR: frozenset({Permission.READ, Permission.READ_AUDIT}),
    # An administrator may stop things, never start them: changes come from release managers only.
    Role.PLATFORM_ADMIN: frozenset(Permission) - {Permission.SUBMIT, Permission.APPROVE},
}


class Actor(NamedTuple):
    """Who calls, and by which request from where. `tenant` is None for one who may act in every tenant."""

    name: str
    role: Role
    tenant: str | None
    # The address the request came from, or `local` where somebody acts on the machine itself.
    source: str = "local"
    request_id: str | None = None
    # A pipeline of a forge. Whoever may start one is not one more person.
    pipeline: bool = False


# Whoever has a shell on the machine and the database's password.
OPERATOR = Actor("operator", Role.PLATFORM_ADMIN, None)


def require(actor: Actor, permission: Permission) -> None:
    """Raise `Forbidden` unless the actor's role has the permission, and is a person's where people are asked."""
    if permission not in ALLOWED[actor.role]:
        raise Forbidden(f"role {actor.role} may not {permission}")
    if permission is Permission.APPROVE and actor.pipeline:
        raise Forbidden(f"a pipeline may not {permission}: people do")


def require_platform(actor: Actor) -> None:
    """Raise `Forbidden` unless the actor may set what binds every tenant, and is bound to none."""
    require(actor, Permission.GOVERN_PLATFORM)
    if actor.tenant is not None:
        raise Forbidden(f"this token is for tenant {actor.tenant}; what binds every tenant needs one for all")


def require_tenant(actor: Actor, tenant: str) -> None:
    """Raise `Forbidden` unless the actor's token is for this tenant."""
    if actor.tenant is not None and actor.tenant != tenant:
        detail = f"this token is for tenant {actor.tenant}, not for {tenant}"
        raise Forbidden(detail, [Problem("/tenant", detail)])
