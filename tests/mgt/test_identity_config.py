"""The file of issuers: what it takes, and that whatever would open a door too wide is refused at the start."""

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml
from typer.testing import CliRunner

from hms_mgt.bootstrap import write_keys
from hms_mgt.cli import cli
from hms_mgt.domain.access import Role
from hms_mgt.domain.identity import Binding, Issuer
from hms_mgt.errors import Invalid
from hms_mgt.identity.issuers import load

PIPELINE = {"repository_id": "42", "environment": ["production", "production-eu"]}
GITHUB: dict[str, Any] = {
    "name": "github",
    "issuer": "https://token.actions.githubusercontent.com",
    "audience": "https://mgt.example",
    "algorithms": ["RS256"],
    "bindings": [{"match": PIPELINE, "role": "release_manager", "tenant": "IACB"}],
}
PEOPLE: dict[str, Any] = {
    "name": "people",
    "issuer": "https://id.example/realms/hms/",
    "audience": ["hms", "hms-cli"],
    "algorithms": ["ES256", "EdDSA"],
    "jwks_uri": "https://id.example/keys",
    "leeway_s": 0,
    "name_claim": "email",
    "bindings": [
        {"match": {"groups": "admins", "email_verified": True}, "role": "platform_admin", "tenant": None},
        {"match": {"groups": "auditors"}, "role": "auditor", "tenant": None},
    ],
}


def binding(match: Any, role: str = "release_manager", tenant: str | None = "IACB", **more: Any) -> dict[str, Any]:
    return {"bindings": [{"match": match, "role": role, "tenant": tenant, **more}]}


def without(name: str) -> dict[str, Any]:
    return {"bindings": [{key: value for key, value in GITHUB["bindings"][0].items() if key != name}]}


@pytest.mark.parametrize("write", [yaml.safe_dump, json.dumps])
def test_the_file_is_yaml_or_json(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "oidc"
    path.write_text(write({"issuers": [GITHUB, PEOPLE]}))
    github, people = load(path)
    values = {"repository_id": ["42"], "environment": ["production", "production-eu"]}
    assert github == Issuer(
        name="github",
        issuer="https://token.actions.githubusercontent.com",
        audience=frozenset({"https://mgt.example"}),
        algorithms=frozenset({"RS256"}),
        jwks_uri=None,
        leeway_s=30,
        name_claim="sub",
        bindings=(Binding(values, Role.RELEASE_MANAGER, "IACB"),),
    )
    assert (people.audience, people.leeway_s, people.name_claim) == (frozenset({"hms", "hms-cli"}), 0, "email")
    assert people.bindings[0].match == {"groups": ["admins"], "email_verified": [True]}


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"algorithms": ["HS256"]}, "/issuers/0/algorithms/0", "RS256"),
    ({"algorithms": ["none"]}, "/issuers/0/algorithms/0", "RS256"),
    ({"algorithms": ["ES256K"]}, "/issuers/0/algorithms/0", "RS256"),
    ({"algorithms": []}, "/issuers/0/algorithms", "at least 1"),
    ({"algorithms": None}, "/issuers/0/algorithms", "list"),
    ({"issuer": "http://id.example"}, "/issuers/0/issuer", "https://"),
    ({"issuer": "http://localhost.example"}, "/issuers/0/issuer", "https://"),
    ({"issuer": "https://id.example?x=1"}, "/issuers/0/issuer", "plain URL"),
    ({"issuer": "https://ann@id.example"}, "/issuers/0/issuer", "plain URL"),
    ({"issuer": "https://"}, "/issuers/0/issuer", "plain URL"),
    ({"jwks_uri": "file:///keys"}, "/issuers/0/jwks_uri", "https://"),
    ({"audience": []}, "/issuers/0/audience", "at least 1"),
    ({"audience": ""}, "/issuers/0/audience/0", "at least 1"),
    ({"leeway_s": 121}, "/issuers/0/leeway_s", "120"),
    ({"leeway_s": -1}, "/issuers/0/leeway_s", "0"),
    ({"name": "Git:Hub"}, "/issuers/0/name", "lower-case"),
    ({"colour": "red"}, "/issuers/0/colour", "not permitted"),
    (binding({**PIPELINE, "actor": "*"}, colour="red"), "/issuers/0/bindings/0/colour", "not permitted"),
    (without("tenant"), "/issuers/0/bindings/0/tenant", "required"),
    (without("match"), "/issuers/0/bindings/0/match", "required"),
    (binding({}), "/issuers/0/bindings/0/match", "at least 1"),
    (binding({**PIPELINE, "ref": []}), "/issuers/0/bindings/0/match/ref", "at least 1"),
    (binding({**PIPELINE, "ref": [""]}), "/issuers/0/bindings/0/match/ref/0", "must be text"),
    (binding({**PIPELINE, "repository_id": 42}), "/issuers/0/bindings/0/match/repository_id/0", "quotes"),
    (binding({**PIPELINE, "ref": None}), "/issuers/0/bindings/0/match/ref/0", "must be text"),
    (binding(PIPELINE, "superuser"), "/issuers/0/bindings/0/role", "release_manager"),
    (binding(PIPELINE, tenant="*"), "/issuers/0/bindings/0/tenant", "letters"),
    (binding(PIPELINE, tenant=None), "/issuers/0/bindings/0/tenant", "of one tenant"),
    (binding({"repository": "iacb/registry"}), "/issuers/0/bindings/0/match", "environment"),
    (binding({"environment": "production"}), "/issuers/0/bindings/0/match", "repository"),
    (binding({"repository_owner": "iacb", "environment": "production"}), "/issuers/0/bindings/0/match", "repository"),
    (binding({"sub": "repo:iacb/registry:environment:production"}), "/issuers/0/bindings/0/match", "repository"),
    (binding({"actor": "ann"}), "/issuers/0/bindings/0/match", "environment"),
    (binding(PIPELINE, "approver"), "/issuers/0/bindings/0/role", "nobody whose approval counts"),
]
ELSEWHERE: list[tuple[Any, str, str]] = [
    ({"project_path": "iacb/registry"}, "/issuers/0/bindings/0/match", "environment"),
    ({"user_login": "ann"}, "/issuers/0/bindings/0/match", "environment"),
    ({"project_id": "7"}, "/issuers/0/bindings/0/match", "environment"),
    ({"namespace_path": "iacb", "environment": "production"}, "/issuers/0/bindings/0/match", "project_path"),
    ({"sub": ["ann", "project_path:iacb/registry:ref_type:branch:ref:main"]}, "/issuers/0/bindings/0/match", "names"),
]


def problems(tmp_path: Path, document: Any) -> list[tuple[str, str]]:
    path = tmp_path / "oidc.yml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(Invalid) as refused:
        load(path)
    return [(one.pointer, one.detail) for one in refused.value.problems]


@pytest.mark.parametrize(("changed", "pointer", "words"), REFUSED, ids=range(len(REFUSED)))
def test_what_would_let_in_too_many_is_refused_where_it_stands(
    tmp_path: Path, changed: dict[str, Any], pointer: str, words: str
) -> None:
    found = problems(tmp_path, {"issuers": [{**deepcopy(GITHUB), **changed}]})
    assert any(where == pointer and words in detail for where, detail in found), found


@pytest.mark.parametrize(("match", "pointer", "words"), ELSEWHERE, ids=range(len(ELSEWHERE)))
def test_a_pipeline_is_known_by_its_claims_on_any_host(tmp_path: Path, match: Any, pointer: str, words: str) -> None:
    found = problems(tmp_path, {"issuers": [{**PEOPLE, **binding(match)}]})
    assert any(where == pointer and words in detail for where, detail in found), found


def test_githubs_issuer_of_one_enterprise_is_githubs(tmp_path: Path) -> None:
    url = "https://token.actions.githubusercontent.com/iacb"
    own = {**deepcopy(GITHUB), "issuer": url, **binding({"actor": "ann"})}
    assert "environment" in str(problems(tmp_path, {"issuers": [own]}))


@pytest.mark.parametrize("role", ["release_manager", "approver"])
def test_who_changes_or_approves_is_of_one_tenant(tmp_path: Path, role: str) -> None:
    found = problems(tmp_path, {"issuers": [{**PEOPLE, **binding({"groups": "managers"}, role, None)}]})
    assert [where for where, _ in found] == ["/issuers/0/bindings/0/tenant"]


def test_no_two_issuers_share_a_name_or_a_url(tmp_path: Path) -> None:
    found = problems(tmp_path, {"issuers": [PEOPLE, deepcopy(PEOPLE)]})
    assert [where for where, _ in found] == ["/issuers/1/name", "/issuers/1/issuer"]


@pytest.mark.parametrize("text", ["", "issuers: 1", "- 1", "issuers: [", "issuers: []\nissuers: []", "\xff"])
def test_a_file_that_is_something_else_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "oidc.yml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(Invalid):
        load(path)


@pytest.fixture
def own_logs() -> Iterator[None]:
    """Leave no log behind that writes to where a command's output was caught."""
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("own_logs")
def test_the_api_does_not_start_with_a_file_that_is_wrong(tmp_path: Path) -> None:
    write_keys(tmp_path / "keys")
    path = tmp_path / "oidc.yml"
    path.write_text(yaml.safe_dump({"issuers": [{**PEOPLE, "algorithms": ["HS256"]}]}))
    env = {"HMS_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x", "HMS_KEYS": str(tmp_path / "keys")}
    for named, words in ((path, "HMS_OIDC: /issuers/0/algorithms/0: "), (tmp_path / "none.yml", "cannot be read")):
        refused = CliRunner().invoke(cli, ["api"], env={**env, "HMS_OIDC": str(named)})
        assert (refused.exit_code, words in refused.stderr) == (2, True), refused.output
