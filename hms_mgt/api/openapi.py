"""Describes the API: what FastAPI knows of the routes, and what holds for all of them and no route need repeat."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from hms_mgt.api import views
from hms_mgt.api.examples import EXAMPLES
from hms_mgt.api.problems import responses

# Whoever calls may be unknown, without a role, or too fast; and a part may be away.
_AUTHENTICATED = (401, 403, 429, 503)
_HEADERS = {
    401: {"WWW-Authenticate": {"description": "The scheme to use", "schema": {"type": "string"}}},
    429: {"Retry-After": {"description": "In how many seconds", "schema": {"type": "integer", "minimum": 0}}},
}
_DESCRIPTION = "Submits, follows and ends configuration patches, and answers what runs where, why and until when."


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of the application."""
    document = get_openapi(title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes)
    for operation in _operations(document):
        _complete(operation)
    document["components"]["schemas"] = _shapes(document["components"]["schemas"])
    return document


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def _complete(operation: dict[str, Any]) -> None:
    """Say in short what it does, and which problems it may answer with because of what it is."""
    operation["summary"] = operation["description"].partition(".")[0]
    answers = operation["responses"]
    # FastAPI's own words for what it refuses are not what is sent.
    implied = _AUTHENTICATED if "security" in operation else ()
    for code, answer in responses(*implied, *((422,) if "422" in answers else ())).items():
        answers[str(code)] = answer | {"headers": _HEADERS[code]} if code in _HEADERS else answer
    operation["responses"] = dict(sorted(answers.items()))
    for body in (body for answer in answers.values() for body in answer.get("content", {}).values()):
        if "itemSchema" in body:
            # What FastAPI says of every text; of a stream it is said for each event.
            body.pop("schema", None)


def _shapes(found: dict[str, Any]) -> dict[str, Any]:
    """Return the shapes of bodies, with the problem document and with whole examples."""
    problem = views.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    examples = dict(_examples(BaseModel)) | {name: [example] for name, example in EXAMPLES.items()}
    return {
        name: shape | ({"examples": examples[name]} if name in examples else {})
        for name, shape in sorted((found | problem.pop("$defs") | {"Problem": problem}).items())
        if name not in {"HTTPValidationError", "ValidationError"}
    }


def _examples(kind: type[BaseModel]) -> Iterator[tuple[str, list[Any]]]:
    """Find the examples that models bring along. FastAPI takes them up, but leaves out whatever is null in them."""
    for model in kind.__subclasses__():
        extra = model.model_config.get("json_schema_extra")
        if isinstance(extra, dict) and isinstance(found := extra.get("examples"), list):
            yield model.__name__, found
            # As it is called where several models have one name.
            yield f"{model.__module__}.{model.__qualname__}".replace(".", "__"), found
        yield from _examples(model)
