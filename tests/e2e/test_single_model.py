"""A directory that is one model, as KServe mounts it, and MLflow's model directories."""

import hashlib
import os
import shutil

import pytest

from support.demo import example
from support.server import MODELS, run, until

MODEL = MODELS / "add-sub/1/model.onnx"
# As MLflow writes it, shortened.
MLMODEL = """\
artifact_path: model
flavors:
  onnx:
    code: null
    data: {data}
    onnx_version: 1.22.0
    providers:
    - CPUExecutionProvider
  python_function:
    data: {data}
    env:
      conda: conda.yaml
    loader_module: mlflow.onnx
mlflow_version: 3.6.0
utc_time_created: '2026-01-01 00:00:00.000000'
"""
SKLEARN = """\
flavors:
  python_function:
    loader_module: mlflow.sklearn
    model_path: model.pkl
  sklearn:
    pickled_model: model.pkl
"""


@pytest.fixture
def mount(tmp_path):
    """/mnt/models, with a model in it."""
    path = tmp_path / "mount"
    path.mkdir()
    shutil.copy(MODEL, path / "model.onnx")
    return path


def answers(server, name: str) -> bool:
    return server.post(f"/v2/models/{name}/versions/1/infer", example("add-sub").body()).ok


@pytest.mark.parametrize("spelling", ["--model-name", "--model_name"])
def test_kserves_mount(mount, start, engine, spelling):
    server = start(mount, spelling, "ward", "--backend", engine).wait_ready()
    assert server.get("/v2/models").json() == {"models": ["ward"]}
    assert answers(server, "ward")


def test_it_has_the_directorys_name_and_is_loaded_anew_when_it_changes(mount, start):
    server = start(mount).wait_ready()
    assert answers(server, "mount")
    assert server.call("PUT", "/models/mount/labels/stable", json={"version": "1"}).ok
    other = MODELS / "breast-cancer/2/model.onnx"
    shutil.copy(other, mount / "next.part")
    os.rename(mount / "next.part", mount / "model.onnx")
    digest = hashlib.sha256(other.read_bytes()).hexdigest()
    until(lambda: server.get("/models/mount").json()["versions"][0].get("sha256") == digest)
    (mount / "model.toml").write_text("[batching]\nbatch_size_max = 3\n")
    until(lambda: server.get("/models/mount").json()["versions"][0].get("records_max") == 3)


def test_explain_and_check_read_it_too(mount, tmp_path):
    outcome = run("explain", "ward", "--models", str(mount), "--model-name", "ward", cwd=tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    assert "ward/1: ready" in outcome.stdout
    assert run("check", str(mount), cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("place", ["mount", "version"])
@pytest.mark.parametrize("data", ["model.onnx", "data/model.onnx"])
def test_mlflows_directories(tmp_path, start, place, data):
    registry = tmp_path / "registry"
    folder = registry if place == "mount" else registry / "registry/1"
    (folder / "data").mkdir(parents=True)
    shutil.copy(MODEL, folder / data)
    (folder / "MLmodel").write_text(MLMODEL.format(data=data))
    (folder / "conda.yaml").write_text("")
    server = start(registry).wait_ready()
    assert answers(server, "registry")
    config = server.get("/v2/models/registry/config").json()
    assert config["default_model_filename"] == data


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SKLEARN, "no flavor 'onnx', which is the one that Galen serves; there is python_function"),
        (MLMODEL.format(data="../outside.onnx"), "expected a relative path without '..'"),
        (MLMODEL.format(data="link.onnx"), "symbolic links are not followed"),
        (MLMODEL.format(data="absent.onnx"), "expected a model file absent.onnx"),
        ("flavors: [", "MLmodel: "),
        (None, "symbolic links are not followed"),
    ],
)
def test_what_can_not_be_served_is_named(tmp_path, text, words):
    mount = tmp_path / "mount"
    mount.mkdir()
    shutil.copy(MODEL, tmp_path / "outside.onnx")
    if text is None:
        os.symlink(tmp_path / "outside.onnx", mount / "model.onnx")
    else:
        (mount / "MLmodel").write_text(text)
        os.symlink(tmp_path / "outside.onnx", mount / "link.onnx")
    outcome = run("check", str(mount), cwd=tmp_path)
    assert outcome.returncode == 1
    (line,) = [line for line in outcome.stdout.splitlines() if line.startswith("error")]
    assert line.startswith("error    mount/1: ") and words in line


@pytest.mark.parametrize("folder", ["1", "add-sub"])
def test_a_model_and_a_registry_at_once_is_neither(mount, tmp_path, folder):
    shutil.copytree(MODELS / "add-sub", mount / folder)
    outcome = run("serve", "--models", str(mount), cwd=tmp_path)
    assert outcome.returncode == 64
    assert "model.onnx lies directly inside" in outcome.stderr
    assert f"so does the folder {folder}/" in outcome.stderr


def test_a_name_must_be_one(mount, tmp_path, start):
    odd = mount.rename(tmp_path / "odd name")
    outcome = run("check", str(odd), cwd=tmp_path)
    assert outcome.returncode == 64
    assert "give it one with --model-name" in outcome.stderr
    outcome = run("check", str(odd), "--model-name", "../x", cwd=tmp_path)
    assert outcome.returncode == 64
    assert "registry.model_name: '../x' can not be a model's name" in outcome.stderr
    # Where there are many models, the name is nobody's, and that is said.
    server = start(MODELS, "--model-name", "ward").wait_ready()
    unused = "the model name is not used: the directory is no single model"
    assert len(server.log.wait_for(message=unused, name="ward")) == 1
