"""Who may do what, for each operation of the API, and which of its fields name something that belongs to somebody.

Whoever adds an operation or a field says here what it is; `test_tenancy_walk.py` fails until then.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from hms_mgt.domain.access import Role

ALL = frozenset(Role)
SUBMITTERS = frozenset({Role.RELEASE_MANAGER})
ENDERS = frozenset({Role.RELEASE_MANAGER, Role.PLATFORM_ADMIN})
APPROVERS = frozenset({Role.RELEASE_MANAGER, Role.APPROVER})
GOVERNORS = frozenset({Role.APPROVER, Role.PLATFORM_ADMIN})
AUDITORS = frozenset({Role.APPROVER, Role.AUDITOR, Role.PLATFORM_ADMIN})
ADMINS = frozenset({Role.PLATFORM_ADMIN})


class Rule(NamedTuple):
    """Whom an operation is for, and what makes it succeed once in the scene of the walk."""

    roles: frozenset[Role]
    # What besides the document's own example is asked with: by the name of a parameter or of a field of the body.
    fields: Mapping[str, Any] = {}
    # Whether it is for those only whose token is bound to no tenant.
    unbound: bool = False


OPEN = Rule(frozenset())
RULES: Mapping[str, Rule] = {
    "POST /api/patch": Rule(SUBMITTERS),
    "GET /api/patch": Rule(ALL),
    "GET /api/patch/{patch_id}": Rule(ALL, {"patch_id": "patch in force"}),
    "GET /api/patch/{patch_id}/events": Rule(ALL, {"patch_id": "patch in force"}),
    "POST /api/patch/{patch_id}/window": Rule(SUBMITTERS, {"patch_id": "patch in force"}),
    "POST /api/patch/{patch_id}/cancel": Rule(ENDERS, {"patch_id": "patch to cancel"}),
    "POST /api/patch/{patch_id}/rollback": Rule(ENDERS, {"patch_id": "patch to roll back"}),
    "POST /api/patch/{patch_id}/approve": Rule(APPROVERS, {"patch_id": "patch to approve"}),
    "POST /api/patch/{patch_id}/reject": Rule(APPROVERS, {"patch_id": "patch to reject"}),
    "GET /api/events": Rule(ALL),
    "POST /api/freeze": Rule(GOVERNORS),
    "GET /api/freeze": Rule(ALL),
    "GET /api/freeze/{freeze_id}": Rule(ALL),
    "POST /api/freeze/{freeze_id}/lift": Rule(GOVERNORS),
    "GET /api/stream/{tenant}/{service}/snapshot": Rule(ALL),
    "GET /api/stream/{tenant}/{service}/revision": Rule(ALL),
    "POST /api/stream/{tenant}/{service}/rollback": Rule(SUBMITTERS, {"revision": 1}),
    "GET /api/effective": Rule(ALL, {"version": "2.1.0"}),
    "GET /api/instance": Rule(ALL),
    "GET /api/tenant/{tenant}/quota": Rule(ALL),
    "PUT /api/tenant/{tenant}/quota": Rule(GOVERNORS),
    "GET /api/platform/cap": Rule(ALL),
    "PUT /api/platform/cap": Rule(ADMINS, unbound=True),
    "GET /api/token": Rule(ADMINS),
    "POST /api/token/{name}/revoke": Rule(ADMINS),
    "GET /api/audit": Rule(AUDITORS),
    "GET /api/audit/head": Rule(AUDITORS),
    "GET /schemas/patch.json": OPEN,
    "GET /livez": OPEN,
    "GET /readyz": OPEN,
}
# Fields that name something of somebody's, or somebody: the walk fills them with what is another tenant's.
NAMING = frozenset(
    {
        "tenant",
        "service",
        "patch_id",
        "supersedes",
        "freeze_id",
        "name",
        "instance",
        "actor",
        "subject",
        "request_id",
        "cursor",
        "last_event_id",
        "last-event-id",
        "idempotency-key",
        "if-match",
    }
)
# Fields that say something else.
OTHER = frozenset(
    {
        "action",
        "all",
        "at",
        "break_glass",
        "changes",
        "comment",
        "cpu",
        "dry_run",
        "duration",
        "end",
        "except_roles",
        "format",
        "knobs",
        "limit",
        "memory",
        "priority",
        "reason",
        "replicas",
        "revision",
        "since",
        "start",
        "status",
        "until",
        "version",
        "version_selector",
        "window",
    }
)


class Field(NamedTuple):
    """One place in a request: in its path, its query, its headers, or at the top of its body."""

    place: str
    name: str


class Operation(NamedTuple):
    """One method of one path, as the OpenAPI document tells of it."""

    method: str
    path: str
    told: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What it is called in the rules."""
        return f"{self.method} {self.path}"

    def ways(self, shapes: Mapping[str, Any]) -> Iterator[Mapping[Field, Any]]:
        """Every way in which it can be asked to answer otherwise: as it is, and with each switch and each choice."""
        yield {}
        for parameter in self.told.get("parameters", []):
            if parameter["in"] == "query":
                field = Field("query", parameter["name"])
                yield from ({field: choice} for choice in _choices(parameter["schema"], shapes))

    @property
    def example(self) -> Mapping[str, Any]:
        """The document's own example of its body."""
        content = self.told.get("requestBody", {}).get("content", {}).get("application/json")
        return {} if content is None else content.get("example") or content["schema"]["examples"][0]

    def fields(self) -> Iterator[Field]:
        """Every place in its requests that can hold something."""
        for parameter in self.told.get("parameters", []):
            yield Field(parameter["in"], parameter["name"])
        for body in self.told.get("requestBody", {}).get("content", {}).values():
            yield from (Field("body", name) for name in body["schema"]["properties"])
            return


def _choices(schema: Mapping[str, Any], shapes: Mapping[str, Any]) -> list[Any]:
    found = [one for kind in schema.get("anyOf", []) for one in _choices(kind, shapes)]
    shape = shapes.get(schema.get("$ref", "").rpartition("/")[2], schema)
    found += shape.get("enum", [])
    return [*found, "true"] if shape.get("type") == "boolean" else found


def operations(document: Mapping[str, Any]) -> list[Operation]:
    """All of them."""
    paths = document["paths"].items()
    return [Operation(method.upper(), path, told) for path, methods in paths for method, told in methods.items()]


def complaints(document: Mapping[str, Any]) -> list[str]:
    """Say what the rules do not say, and what they say of nothing."""
    known = operations(document)
    names = {one.name for one in known}
    return [
        *(f"{one}: nobody said whom it is for; add it to RULES in tests/mgt/rules.py" for one in names - set(RULES)),
        *(f"{one}: there is no such operation; take it out of RULES" for one in set(RULES) - names),
        *(
            f"{one.name}: does {field.name} ({field.place}) name what is somebody's? Add it to NAMING or OTHER"
            for one in known
            for field in one.fields()
            if field.name not in NAMING | OTHER
        ),
    ]
