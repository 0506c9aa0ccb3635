"""Fuzz the API against its OpenAPI description: no undocumented response, and no server error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from fastnn.web.app import Settings, create_app
from fastnn.web.store import Store
from tests.web.servers import BEARER, TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastnn.web.serving import ServedModel


OPERATIONS = (
    "POST /api/predict",
    "GET /api/health",
    "POST /api/digits",
    "GET /api/stats",
    "GET /api/review",
    "POST /api/review",
    "POST /api/review/release",
    "GET /api/review/digits",
    "GET /api/review/history",
    "POST /api/review/contributor",
    "POST /api/review/strike",
    "POST /api/review/{digit}",
    "POST /api/learn",
    "GET /api/class",
    "POST /api/class",
    "GET /class.png",
    "GET /class.svg",
    "GET /dataset.json",
    "GET /mosaic.png",
    "GET /model.json",
    "GET /model.bin",
    "GET /NN.json",
)

# An example with drawings costs ten times as much as another one.
EXAMPLES = {"POST /api/predict": 8, "POST /api/digits": 8}

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def schema(loaded: ServedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('schema') / 'digits.db'}")
    app = create_app(Settings(store, TOKEN, loaded, rate=0))
    app.state.fastnn.live.seconds = 0  # a training ends after its first report
    yield schemathesis.openapi.from_asgi("/api/openapi.json", app)
    store.close()


def test_all_operations_are_listed_here(schema: Any) -> None:
    assert {result.ok().label for result in schema.get_all_operations()} == set(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_api_matches_its_description(schema: Any, operation: str) -> None:
    method, path = operation.split()
    headers = BEARER if "/review" in path or "/learn" in path or operation == "POST /api/class" else {}
    strategies = schema[path][method]

    @hypothesis.settings(
        max_examples=EXAMPLES.get(operation, 20),
        deadline=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(
        case=strategies.as_strategy() | strategies.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)
    )
    def conforms(case: Any) -> None:
        case.call_and_validate(headers=headers, checks=CHECKS)

    conforms()
