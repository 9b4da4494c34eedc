"""Models that can not be served, beside one that can: the server starts, says what is wrong with
each and why, and serves the rest.
"""

import os

import pytest

from support import server as processes
from support.demo import example, records
from support.server import Server, until

# What can not be served, with a piece of the reason that must be given.
REASONS = {
    "empty/1": "",
    "fifo/1": "expected a regular file",
    "hard-link/1": "hard links are not read",
    "link-out/1": "symbolic links are not followed",
    "missing/1": "model.onnx",
    "mismatch/1": "the model has no tensor 'INPUT9'",
    "sums/1": "does not have the digest that SHA256SUMS lists",
    "truncated/1": "",
    "typo": "did you mean 'batch_size_max'?",
    "unlisted/1": "SHA256SUMS does not list model.onnx",
}


@pytest.fixture
def broken(registry, tmp_path):
    """A registry of one good model, one half good one, and every kind of bad one."""
    registry.add_demo("add-sub", "good")
    half = registry.add_demo("breast-cancer", "half")
    (half / "2/model.onnx").write_bytes(b"")

    def model(name: str):
        return registry.add_demo("add-sub", name) / "1/model.onnx"

    model("empty").write_bytes(b"")
    truncated = model("truncated")
    truncated.write_bytes(truncated.read_bytes()[:-40])
    model("missing").unlink()
    fifo = model("fifo")
    fifo.unlink()
    os.mkfifo(fifo)
    outside = tmp_path / "outside.onnx"
    for name, link in (("link-out", os.symlink), ("hard-link", os.link)):
        file = model(name)
        if not outside.exists():
            outside.write_bytes(file.read_bytes())
        file.unlink()
        link(outside, file)
    model("sums").with_name("SHA256SUMS").write_text(f"{'0' * 64}  model.onnx\n")
    model("unlisted").with_name("SHA256SUMS").write_text(f"{'0' * 64}  other.onnx\n")
    for name, old, new in (
        ("typo", "batch_size_max", "batch_sizes_max"),
        ("mismatch", 'name = "INPUT1"', 'name = "INPUT9"'),
    ):
        manifest = model(name).parents[1] / "model.toml"
        manifest.write_text(manifest.read_text().replace(old, new))
    # What is no model at all is nobody's business.
    (registry.path / "notes").mkdir()
    (registry.path / "README.md").write_text("Not a model.")
    os.symlink(tmp_path, registry.path / "link")
    return registry.path


def reasons(server: Server) -> dict[str, str]:
    body = server.get("/v2/health/ready").json()
    return {entry["name"]: entry["reason"] for entry in body.get("not_ready", [])}


def settled(server: Server) -> dict[str, str]:
    """The reasons once every version is ready or has failed."""
    server.log.wait_for(count=len(REASONS), message="version failed")
    server.log.wait_for(count=2, message="version ready")
    states = {"new", "verifying", "loading", "warming"}
    return until(lambda: None if states & set(reasons(server).values()) else reasons(server))


def assert_named(found: dict[str, str]):
    assert found.keys() == {*REASONS, "half/2"}
    for name, piece in REASONS.items():
        assert piece in found[name], f"{name}: {found[name]}"
        assert len(found[name]) > 10, f"{name} has no reason that says something"


def test_good_models_are_served_and_bad_ones_named(broken, start):
    server = start(broken)
    server.wait_ready()
    assert_named(settled(server))
    response = server.get("/v2/health/ready")
    assert response.status_code == 200
    assert response.json()["ready"] is True and response.json()["live"] is True
    assert server.get("/v2/health/live").json() == {"live": True}
    asked = example("add-sub")
    answer = server.post("/models/good/predict", {"records": records(asked)})
    assert answer.ok
    # The version that works is not disturbed by the one that does not.
    half = example("breast-cancer", "1")
    body = {"records": records(half)}
    for path in ("/models/half/predict", "/models/half/versions/1/predict"):
        assert server.post(path, body).json()["version"] == "1"
    assert server.post("/models/half/versions/2/predict", body).status_code == 503


def test_strict_readiness_is_down_while_anything_is(broken, start):
    server = start(broken, "--strict-readiness")
    assert_named(settled(server))
    response = server.get("/v2/health/ready")
    assert response.status_code == 503
    assert response.json()["ready"] is False
    assert server.get("/v2/health/live").status_code == 200
    assert server.post("/v2/models/good/infer", example("add-sub").body()).ok


@pytest.mark.parametrize("name", REASONS)
def test_a_bad_model_is_ready_nowhere(broken, start, name):
    server = start(broken).wait_ready()
    reason = settled(server)[name]
    model = name.split("/")[0]
    assert server.get(f"/v2/models/{model}/ready").status_code == 503
    for response in (
        server.post(f"/v2/models/{model}/infer", example("add-sub").body()),
        server.post(f"/models/{model}/predict", {"records": []}),
        server.get(f"/v2/models/{model}"),
    ):
        assert response.status_code == 503, response.text
    shown = server.get(f"/models/{model}").json()
    told = [shown.get("problem"), *(version.get("reason") for version in shown["versions"])]
    assert reason in told


def test_check_names_each_and_fails(broken, tmp_path):
    outcome = processes.run("check", str(broken), cwd=tmp_path)
    assert outcome.returncode == 1, outcome.stdout + outcome.stderr
    lines = outcome.stdout.splitlines()
    errors = [line.split(maxsplit=1)[1] for line in lines if line.startswith("error")]
    assert_named(dict(error.split(": ", 1) for error in errors))
    assert any(line.startswith("ok       good/1:") for line in lines)
    assert any(line.startswith("ok       half/1:") for line in lines)
    assert lines[-1].startswith(f"{len(REASONS) + 2} versions, {len(REASONS) + 1} errors")


def test_check_passes_the_demo_models(tmp_path):
    outcome = processes.run("check", str(processes.MODELS), cwd=tmp_path)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert outcome.stdout.splitlines()[-1] == "6 versions, 0 errors, 0 warnings"


def test_check_finds_answers_that_differ_from_the_examples(registry, tmp_path):
    file = registry.add_demo("add-sub") / "1/examples.json"
    file.write_text(file.read_text().replace("3.75,3.625", "3.75,3.75", 1))
    outcome = processes.run("check", str(registry.path), cwd=tmp_path)
    assert outcome.returncode == 1
    assert "add-sub/1" in outcome.stdout and "OUTPUT0" in outcome.stdout


def test_a_registry_without_one_good_model_is_not_ready(registry, start):
    (registry.add_demo("add-sub") / "1/model.onnx").write_bytes(b"")
    server = start(registry.path)
    server.log.wait_for(message="version failed")
    until(lambda: "loading" not in reasons(server).values())
    assert server.get("/v2/health/ready").status_code == 503


def test_an_empty_registry_is_ready(registry, start):
    server = start(registry.path).wait_ready()
    assert server.get("/v2/models").json() == {"models": []}
    assert server.get("/openapi.json").ok
