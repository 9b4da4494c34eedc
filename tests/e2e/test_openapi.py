"""The document at /openapi.json: it is valid, its examples work, and the server keeps to it
whatever a generator of requests thinks of.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from support.demo import EXAMPLES, LATEST
from support.registry import Registry
from support.server import Server, environment

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
# What must hold of every answer, whatever was asked.
ALWAYS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
]
TIME_MAX_S = 240


@pytest.fixture(scope="module")
def document(shared) -> dict:
    response = shared.get("/openapi.json")
    assert response.headers["content-type"] == "application/json"
    return response.json()


def operations(document: dict) -> list[tuple[str, str, dict]]:
    return [
        (verb.upper(), path, operation)
        for path, item in document["paths"].items()
        for verb, operation in item.items()
    ]


def test_the_document_is_valid(document):
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()


def test_every_version_has_its_operation(document):
    wanted = {f"/models/{e.model}/versions/{e.version}/predict" for e in EXAMPLES}
    wanted |= {f"/models/{model}/predict" for model in LATEST}
    assert wanted == {path for path in document["paths"] if path.endswith("/predict")}
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(ids)) == len(ids)


def test_units_and_ranges_are_those_of_the_contract(document):
    age = document["components"]["schemas"]["diabetes-progression.1.Record"]["properties"]["age"]
    assert (age["minimum"], age["maximum"]) == (0, 120)
    assert "Age in years" in age["description"]


@pytest.mark.parametrize("asked", EXAMPLES, ids=str)
def test_examples_are_answered_as_they_say(shared, document, asked):
    paths = [asked.path("predict", root="")]
    if LATEST[asked.model] == asked.version:
        paths.append(f"/models/{asked.model}/predict")
    for path in paths:
        operation = document["paths"][path]["post"]
        request = operation["requestBody"]["content"]["application/json"]["example"]
        wanted = operation["responses"]["200"]["content"]["application/json"]["example"]
        answer = shared.post(path, request).json()
        assert answer.keys() == wanted.keys()
        assert (answer["model"], answer["version"]) == (wanted["model"], wanted["version"])
        assert_near(answer["predictions"], wanted["predictions"], asked.tolerance)


def assert_near(found, wanted, tolerance: float):
    """The same shape and texts, and numbers within the tolerance."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key in wanted:
            assert_near(found[key], wanted[key], tolerance)
    elif isinstance(wanted, list):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted):
            assert_near(one, other, tolerance)
    elif isinstance(wanted, str):
        assert found == wanted
    else:
        assert abs(np.float32(found) - np.float32(wanted)) <= tolerance


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Fewer models, each of another kind: time is better spent on requests."""
    folder = tmp_path_factory.mktemp("openapi")
    registry = Registry(folder / "models")
    for model in ("diabetes-progression", "add-sub", "identity"):
        registry.add_demo(model)
    # No FP64: the generator's number just beyond its range reads as its largest one everywhere.
    registry.add_echo("mixed", datatypes=("UINT64", "BOOL", "BYTES", "FP32"), shape=(-1,))
    registry.add_echo("integers", datatypes=("INT8", "INT64"), shape=(-1,))
    with Server(registry.path, "--allow-client-shm=true", cwd=folder) as server:
        yield server.wait_ready()


@pytest.mark.parametrize(
    ("mode", "checks", "flags"),
    [
        ("positive", ALWAYS, []),
        ("negative", [*ALWAYS, "negative_data_rejection", "unsupported_method"], []),
        # Not for rows of free extents: no schema can say that all rows of a request are alike.
        (
            "positive",
            ["positive_data_acceptance"],
            ["--include-path-regex", "^/models/(add-sub|diabetes-progression)/.*predict"],
        ),
        (
            "positive",
            ["positive_data_acceptance"],
            ["--include-path-regex", "^/models/integers/predict"],
        ),
    ],
    ids=["what fits", "what does not fit", "what fits is taken", "integers in every notation"],
)
@pytest.mark.timeout(TIME_MAX_S + 30)
def test_generated_requests(small, tmp_path, mode, checks, flags):
    """The same requests each time: the generator is told to leave nothing to chance."""
    command = [SCHEMATHESIS, "run", f"http://{small.http}/openapi.json", "--no-color"]
    command += ["--mode", mode, "--checks", ",".join(checks), *flags]
    # A call that takes a model out, or turns requests away from it, changes what the other calls
    # find; and to the generator, the 501 of a setting that the server does not have is an error of it.
    command += [
        "--exclude-path-regex",
        "^/v2/repository/models/|/labels/|/traffic$|/promote$|/rollback$"
        "|/trace/setting$|^/v2/logging$",
    ]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", "60"]
    command += ["--generation-deterministic", "--continue-on-failure"]
    command += ["--suppress-health-check", "all", "--request-timeout", "10"]
    outcome = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIME_MAX_S,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
