"""ONNX files whose data lies in a second file, as PyPI's onnx writes them: served from within the
version's folder, and refused where a name leads out of it or does not fit.
"""

import hashlib
import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from support import server as processes
from support.server import until

WEIGHTS = np.arange(64, dtype=np.float32).reshape(8, 8)
BODY = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 8], "data": [1.0] * 8}]}
EXPECTED = list(WEIGHTS.sum(axis=0) + 0.5)


def model() -> onnx.ModelProto:
    """y = x W + b: W an initializer, b in the attribute of a Constant."""
    bias = numpy_helper.from_array(np.full(8, 0.5, dtype=np.float32), "b")
    constant = helper.make_node("Constant", [], ["b"], value=bias)
    nodes = [
        constant,
        helper.make_node("MatMul", ["x", "W"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "affine",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 8])],
        [numpy_helper.from_array(WEIGHTS, "W")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def add(registry, name: str, location: str = "weights.bin", **options):
    """A model with all its data in another file."""
    folder = registry.path / name / "1"
    folder.mkdir(parents=True)
    onnx.save_model(
        model(),
        folder / "model.onnx",
        save_as_external_data=True,
        location=location,
        size_threshold=0,
        convert_attribute=True,
        **options,
    )
    return folder


def rewrite(folder, key: str, value: str):
    """Changes where the data of W is said to be."""
    file = folder / "model.onnx"
    changed = onnx.load_model(file, load_external_data=False)
    entries = {entry.key: entry for entry in changed.graph.initializer[0].external_data}
    entries[key].value = value
    file.write_bytes(changed.SerializeToString())


def test_both_engines_serve_it(registry, start, engine):
    folder = add(registry, "one")
    add(registry, "many", location=None, all_tensors_to_one_file=False)
    sums = folder / "SHA256SUMS"
    names = ["model.onnx", "weights.bin"]
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    sums.write_text("".join(f"{digest}  {name}\n" for name, digest in digests.items()))
    assert len(list((registry.path / "many/1").iterdir())) == 3
    server = start(registry.path, "--backend", engine).wait_ready()
    for name in ("one", "many"):
        answer = server.post(f"/v2/models/{name}/infer", BODY).json()
        assert answer["outputs"][0]["data"] == EXPECTED
    (version,) = server.get("/models/one").json()["versions"]
    assert version["sha256"] == digests["model.onnx"]
    assert version["data_sha256"] == {"weights.bin": digests["weights.bin"]}
    sizes = [(folder / name).stat().st_size for name in names]
    assert version["model_file_bytes"] == sum(sizes)


def test_data_lies_beside_a_model_file_in_a_deeper_folder(registry, start):
    folder = add(registry, "m")
    (folder / "data").mkdir()
    for name in ("model.onnx", "weights.bin"):
        (folder / name).rename(folder / "data" / name)
    (folder / "MLmodel").write_text("flavors:\n  onnx:\n    data: data/model.onnx\n")
    server = start(registry.path).wait_ready()
    assert server.post("/v2/models/m/infer", BODY).json()["outputs"][0]["data"] == EXPECTED
    (version,) = server.get("/models/m").json()["versions"]
    assert list(version["data_sha256"]) == ["data/weights.bin"]


def hostile(registry, tmp_path) -> dict[str, str]:
    """Models that want what is not theirs, with a piece of the reason that must be given."""
    outside = registry.path / "outside.bin"
    good = add(registry, "good")
    outside.write_bytes((good / "weights.bin").read_bytes())
    (tmp_path / "secret.bin").write_bytes(outside.read_bytes())
    rewrite(add(registry, "parent"), "location", "../../outside.bin")
    rewrite(add(registry, "sibling"), "location", "../../good/1/weights.bin")
    rewrite(add(registry, "absolute"), "location", str(tmp_path / "secret.bin"))
    rewrite(add(registry, "absent"), "location", "absent.bin")
    rewrite(add(registry, "offset"), "offset", "4096")
    rewrite(add(registry, "length"), "length", "252")
    rewrite(add(registry, "memory"), "location", "*/_ORT_MEM_ADDR_/*")
    for name, link in (("link", os.symlink), ("hard", os.link)):
        folder = add(registry, name)
        (folder / "weights.bin").unlink()
        link(tmp_path / "secret.bin", folder / "weights.bin")
    folder = add(registry, "parent-link")
    os.symlink(tmp_path, folder / "data")
    rewrite(folder, "location", "data/secret.bin")
    folder = add(registry, "fifo")
    (folder / "weights.bin").unlink()
    os.mkfifo(folder / "weights.bin")
    folder = add(registry, "unlisted")
    digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  model.onnx\n")
    folder = add(registry, "changed")
    names = ("model.onnx", "weights.bin")
    sums = [f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names]
    (folder / "SHA256SUMS").write_text("".join(sums))
    data = bytearray((folder / "weights.bin").read_bytes())
    data[5] ^= 1
    (folder / "weights.bin").write_bytes(data)
    return {
        "parent": "is not one of the version's folder",
        "sibling": "is not one of the version's folder",
        "absolute": "expected a relative path",
        "absent": "there is no file absent.bin",
        "offset": "reach beyond",
        "length": "it has 252 bytes, its shape asks for 256",
        "memory": "there is no file",
        "link": "symbolic links are not followed",
        "hard": "hard links are not read",
        "parent-link": "symbolic links are not followed",
        "fifo": "expected a regular file",
        "unlisted": "SHA256SUMS does not list weights.bin",
        "changed": "weights.bin does not have the digest",
    }


def test_what_leads_out_or_does_not_fit_is_refused(registry, tmp_path, start, engine):
    reasons = hostile(registry, tmp_path)
    server = start(registry.path, "--backend", engine)
    server.log.wait_for(count=len(reasons), message="version failed")
    server.wait_ready()
    body = until(lambda: server.get("/v2/health/ready").json())
    found = {entry["name"]: entry["reason"] for entry in body["not_ready"]}
    assert found.keys() == {f"{name}/1" for name in reasons}
    for name, piece in reasons.items():
        assert piece in found[f"{name}/1"], found[f"{name}/1"]
    assert server.post("/v2/models/good/infer", BODY).json()["outputs"][0]["data"] == EXPECTED


def test_the_limit_of_a_model_counts_all_of_its_files(registry, tmp_path):
    folder = add(registry, "m")
    size = sum(file.stat().st_size for file in folder.iterdir())
    for limit, code in ((size, 0), (size - 1, 1)):
        flags = ["--model-bytes-max", str(limit)]
        outcome = processes.run("check", str(registry.path), *flags, cwd=tmp_path)
        assert outcome.returncode == code, outcome.stdout
    assert "limit" in outcome.stdout


@pytest.mark.parametrize("name", ["weights.bin", "model.onnx"])
def test_new_data_alone_is_a_new_version(registry, start, name):
    folder = add(registry, "m")
    server = start(registry.path).wait_ready()
    doubled = model()
    doubled.graph.initializer[0].CopyFrom(numpy_helper.from_array(WEIGHTS * 2, "W"))
    onnx.save_model(
        doubled,
        folder / "model.onnx",
        save_as_external_data=True,
        location="weights.bin" if name == "weights.bin" else "other.bin",
        size_threshold=0,
        convert_attribute=True,
    )
    expected = [float(value) for value in WEIGHTS.sum(axis=0) * 2 + 0.5]

    def answer() -> list:
        return server.post("/v2/models/m/infer", BODY).json()["outputs"][0]["data"]

    until(lambda: answer() == expected)
