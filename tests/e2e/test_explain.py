"""`galen explain`: what was completed and why, what does not fit, and a fix that can be pasted."""

import json

import pytest

from support.server import MODELS, run


def explain(*arguments: str, cwd, code: int = 0) -> str:
    outcome = run("explain", *arguments, cwd=cwd)
    assert outcome.returncode == code, outcome.stdout + outcome.stderr
    return outcome.stdout if code != 64 else outcome.stderr


def facts(*arguments: str, cwd, code: int = 0) -> dict:
    return json.loads(explain(*arguments, "--json", cwd=cwd, code=code))


def test_a_demo_model_is_explained(tmp_path):
    text = explain("breast-cancer", "--models", str(MODELS), cwd=tmp_path)
    head = text.splitlines()[0]
    assert head == "breast-cancer: configured by model.toml"
    for line in ("breast-cancer/1: ", "breast-cancer/2: ready", "input features", "sha256"):
        assert f"\n{line}" in text or f"\n  {line}" in text, text
    found = facts("breast-cancer/2", "--models", str(MODELS), cwd=tmp_path)
    (version,) = found["versions"]
    assert (version["version"], version["state"], version["fix"]) == (2, "ready", None)
    settings = {setting["key"]: setting for setting in version["settings"]}
    assert settings["backend"]["value"] == "onnxruntime"
    assert settings["batching"]["value"].startswith("on, up to 64 rows")
    (file,) = [version["file"]]
    assert file["bytes"] == (MODELS / "breast-cancer/2/model.onnx").stat().st_size
    inputs = [t for t in version["tensors"] if t["kind"] == "input"]
    assert inputs[0]["model"] == inputs[0]["served"] == "FP32 [-1,30]"


def test_a_label_names_a_version_and_the_policy_says_what_serves(registry, tmp_path):
    manifest = registry.add_demo("breast-cancer") / "model.toml"
    text = manifest.read_text().replace('version_policy = "all"', "")
    manifest.write_text("version_policy = { latest = 1 }\nlabels = { stable = 2 }\n" + text)
    models = ["--models", str(registry.path)]
    found = facts("breast-cancer/stable", *models, cwd=tmp_path)
    assert (found["labels"], found["versions"][0]["version"]) == ({"stable": 2}, 2)
    found = facts("breast-cancer/1", *models, cwd=tmp_path)
    assert found["versions"][0]["state"] == "left out"
    assert "version_policy is latest = 1" in found["versions"][0]["reason"]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("breast-cancre", "did you mean 'breast-cancer'?"),
        ("breast-cancer/9", "did you mean '2'?"),
        ("breast-cancer/0", "not a positive integer"),
        ("breast-cancer/stabel", "has no label 'stabel'"),
        ("", "there is no model ''"),
    ],
)
def test_what_is_not_there_names_its_neighbour(tmp_path, target, words):
    assert words in explain(target, "--models", str(MODELS), cwd=tmp_path, code=64)


def test_a_registry_that_is_not_there_is_told(tmp_path):
    assert "nowhere" in explain("m", "--models", "nowhere", cwd=tmp_path, code=64)


def test_a_contradiction_is_shown_with_a_fix_that_can_be_pasted(registry, tmp_path):
    folder = registry.add_demo("add-sub")
    models = ["--models", str(registry.path)]
    manifest = folder / "model.toml"
    wrong = '[[inputs]]\nname = "INPUT0"\ndatatype = "INT64"\nshape = [-1, 3]\n'
    manifest.write_text(wrong)
    text = explain("add-sub", *models, cwd=tmp_path, code=1)
    assert "add-sub/1: failed" in text
    assert "'INPUT0' is declared as INT64 [-1,3], but the model file has FP32 [-1,16]" in text
    assert "INT64 [-1,3] !" in text
    (version,) = facts("add-sub", *models, cwd=tmp_path, code=1)["versions"]
    manifest.write_text("[[inputs]]\n" + version["fix"])
    assert facts("add-sub", *models, cwd=tmp_path)["versions"][0]["state"] == "ready"

    manifest.unlink()
    config = folder / "config.pbtxt"
    config.write_text("max_batch_size: 8\ninput { name: 'INPUT0' data_type: TYPE_INT32 dims: 3 }\n")
    (version,) = facts("add-sub", *models, cwd=tmp_path, code=1)["versions"]
    config.write_text("max_batch_size: 8\n" + version["fix"])
    assert facts("add-sub", *models, cwd=tmp_path)["versions"][0]["state"] == "ready"


def test_a_broken_configuration_is_told(registry, tmp_path):
    (registry.add_demo("add-sub") / "model.toml").write_text("bakend = 'tract'")
    text = explain("add-sub", "--models", str(registry.path), cwd=tmp_path, code=1)
    assert "error           model.toml: line 1: unknown field `bakend`" in text
    assert "did you mean 'backend'?" in text
