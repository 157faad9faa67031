"""Pipelines as callers: a binding for one names the repository and the environment that it runs for.

A repository alone is anybody who can push a branch to it; an environment is what its owners protect.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

from hms_mgt.domain.access import Role
from hms_mgt.errors import Problem

Value: TypeAlias = str | bool

_REPOSITORY = frozenset({"repository", "repository_id", "project_path", "project_id"})
# Claims that only the tokens of pipelines have. Who matches on one of them means a pipeline.
_TELLING = _REPOSITORY | {
    "environment",
    "repository_owner",
    "repository_owner_id",
    "workflow",
    "workflow_ref",
    "job_workflow_ref",
    "namespace_path",
    "namespace_id",
    "job_project_path",
    "job_project_id",
    "ci_config_ref_uri",
    "pipeline_source",
    "user_login",
    "user_access_level",
    "ref_protected",
    "environment_protected",
}
# Claims that each of their tokens has. A forge signs people's tokens with the same keys.
_MARKS = frozenset({"job_workflow_ref", "ci_config_ref_uri", "pipeline_source"})
_SUBJECTS = ("repo:", "project_path:")
_GITHUB = "https://token.actions.githubusercontent.com"


def is_of_pipeline(claims: Mapping[str, Any]) -> bool:
    """Tell whether a token is a pipeline's, whoever started that."""
    return bool(_MARKS & claims.keys()) or str(claims.get("sub")).startswith(_SUBJECTS)


def is_for_pipelines(match: Mapping[str, Sequence[Value]]) -> bool:
    """Tell whether a binding names a repository and an environment, as one for pipelines has to."""
    return bool(_REPOSITORY & match.keys()) and "environment" in match


def workload_problems(issuer: str, match: Mapping[str, Sequence[Value]], role: Role) -> list[Problem]:
    """Check a binding that is for pipelines. Pointers are within the binding."""
    if not f"{issuer}/".startswith(f"{_GITHUB}/") and not _is_workload(match):
        return []
    problems = []
    if not _REPOSITORY & match.keys():
        problems.append(Problem("/match", f"a pipeline's binding names {_either(_REPOSITORY)}"))
    if "environment" not in match:
        problems.append(Problem("/match", "a pipeline's binding names its environment as well"))
    if role is Role.APPROVER:
        problems.append(Problem("/role", "a pipeline is nobody whose approval counts"))
    return problems


def _is_workload(match: Mapping[str, Sequence[Value]]) -> bool:
    subjects = [value for value in match.get("sub", ()) if isinstance(value, str)]
    return bool(_TELLING & match.keys()) or any(value.startswith(_SUBJECTS) for value in subjects)


def _either(names: Collection[str]) -> str:
    *others, last = sorted(names)
    return f"{', '.join(others)} or {last}"
