"""What every builder shares: seeds, file formats, checks.

Three rules hold for each model directory:

* the examples hold rows the model never saw in training, and the expected
  outputs are those of the library that trained it, not of ONNX Runtime;
* the exported graph is run on every held-out row and must agree with that
  library, or the build stops;
* the figures in the card are written by the build, between two markers.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

SEED = 20240229
TOLERANCE = 1e-5

# Opset 17 and IR version 8 are read by every ONNX Runtime since 1.12.
OPSET = {"": 17, "ai.onnx.ml": 3}
IR_VERSION = 8

DOC = "Demonstration only, not for clinical use."

DATATYPES = {np.dtype("float32"): "FP32", np.dtype("int64"): "INT64"}


# --- model files -----------------------------------------------------------


def save_model(model: onnx.ModelProto, path: Path) -> None:
    """Checks the graph and writes it with a named batch axis.

    skl2onnx declares the lowest opsets that its nodes need, some of them twice;
    every file here declares the same ones, OPSET.
    """
    model.ir_version = IR_VERSION
    del model.opset_import[:]
    domains = {""} | {node.domain for node in model.graph.node}
    model.opset_import.extend(
        onnx.helper.make_opsetid(domain, OPSET[domain]) for domain in sorted(domains)
    )
    model.doc_string = DOC
    for value in [*model.graph.input, *model.graph.output]:
        batch = value.type.tensor_type.shape.dim[0]
        if not batch.HasField("dim_value"):
            batch.dim_param = "batch"
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def run_model(path: Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Runs a model file in ONNX Runtime, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def require_agreement(
    path: Path,
    inputs: dict[str, np.ndarray],
    expected: dict[str, np.ndarray],
    tolerance: float = TOLERANCE,
) -> float:
    """Stops the build unless the graph gives the expected outputs.

    Integers must be equal; floats may differ by `tolerance`, absolute. Returns
    the largest difference.
    """
    got = run_model(path, inputs)
    if set(got) != set(expected):
        raise SystemExit(f"{path}: outputs {sorted(got)}, expected {sorted(expected)}")
    worst = 0.0
    for name, want in expected.items():
        have = got[name]
        if have.shape != want.shape or have.dtype != want.dtype:
            raise SystemExit(
                f"{path}: {name} is {have.dtype}{have.shape}, expected {want.dtype}{want.shape}"
            )
        if want.dtype.kind == "i":
            if not np.array_equal(have, want):
                raise SystemExit(f"{path}: {name} differs from the training library")
            continue
        difference = float(np.max(np.abs(have.astype(np.float64) - want)))
        if not difference <= tolerance:
            raise SystemExit(f"{path}: {name} differs from the training library by {difference}")
        worst = max(worst, difference)
    return worst


# --- examples --------------------------------------------------------------


def write_examples(
    path: Path,
    source: str,
    inputs: dict[str, np.ndarray],
    outputs: dict[str, np.ndarray],
    tolerance: float = TOLERANCE,
) -> None:
    """Writes examples.json: one batch, one line of numbers per row."""
    text = "\n".join(
        [
            "{",
            f'  "source": {json.dumps(source)},',
            f'  "tolerance": {tolerance},',
            f'  "inputs": [{_tensors(inputs)}],',
            f'  "outputs": [{_tensors(outputs)}]',
            "}",
            "",
        ]
    )
    parsed = json.loads(text)
    for key, tensors in (("inputs", inputs), ("outputs", outputs)):
        for entry, array in zip(parsed[key], tensors.values(), strict=True):
            back = np.array(entry["data"], dtype=array.dtype).reshape(entry["shape"])
            if not np.array_equal(back, array):
                raise SystemExit(f"{path}: {entry['name']} does not round-trip")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _tensors(tensors: dict[str, np.ndarray]) -> str:
    return ", ".join(_tensor(name, array) for name, array in tensors.items())


def _tensor(name: str, array: np.ndarray) -> str:
    if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
        raise SystemExit(f"{name}: JSON holds finite numbers only")
    # str() of a float32 is the shortest decimal that reads back as that float32.
    if array.ndim == 1:
        lines = [",".join(str(value) for value in array)]
    else:
        rows = array.reshape(array.shape[0], -1)
        lines = [",".join(str(value) for value in row) for row in rows]
    data = ",\n      ".join(lines)
    return (
        f'{{\n    "name": {json.dumps(name)}, "datatype": "{DATATYPES[array.dtype]}", '
        f'"shape": {json.dumps(list(array.shape))}, "data": [\n      {data}\n    ]}}'
    )


# --- contract --------------------------------------------------------------


def require_contract(model_dir: Path, columns: dict[str, np.ndarray]) -> None:
    """Stops the build unless model.toml names these columns in this order and
    its plausibility ranges contain every value of the data set."""
    manifest = tomllib.loads((model_dir / "model.toml").read_text())
    features = manifest["inputs"][0]["features"]
    if [feature["name"] for feature in features] != list(columns):
        raise SystemExit(f"{model_dir}/model.toml: features are not the data set's columns")
    for feature in features:
        low, high = feature["range"]
        values = columns[feature["name"]]
        if values.min() < low or values.max() > high:
            raise SystemExit(
                f"{model_dir}/model.toml: {feature['name']} range leaves out values of the data set"
            )


# --- cards -----------------------------------------------------------------


def write_metrics(
    card: Path,
    task: tuple[str, str],
    dataset: tuple[str, str],
    metrics: dict[str, dict[str, tuple[str, float | int]]],
) -> None:
    """Fills the two metric blocks of a card: model-index and results table.

    `task` and `dataset` are (type, name); `metrics` maps a version to
    {metric type: (metric name, value)}. Integers are counts and appear in the
    table only.
    """
    index = ["model-index:"]
    for version, values in metrics.items():
        index += [
            f"- name: {card.parent.name}/{version}",
            "  results:",
            "  - task:",
            f"      type: {task[0]}",
            f"      name: {task[1]}",
            "    dataset:",
            f"      type: {dataset[0]}",
            f"      name: {dataset[1]}",
            "      split: test",
            "    metrics:",
        ]
        for kind, (name, value) in values.items():
            if isinstance(value, float):
                index += [
                    f"    - type: {kind}",
                    f"      name: {name}",
                    f"      value: {value:.4f}",
                ]
    rows = [
        "| Metric | " + " | ".join(f"Version {version}" for version in metrics) + " |",
        "|---|" + "---:|" * len(metrics),
    ]
    for kind, (name, _) in next(iter(metrics.values())).items():
        values = [version[kind][1] for version in metrics.values()]
        cells = [f"{v:.4f}" if isinstance(v, float) else str(v) for v in values]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")

    text = card.read_text()
    text = _fill(text, "# metrics:begin", "# metrics:end", index, card)
    text = _fill(text, "<!-- metrics:begin -->", "<!-- metrics:end -->", rows, card)
    card.write_text(text)


def _fill(text: str, begin: str, end: str, lines: list[str], card: Path) -> str:
    block = re.compile(
        rf"^{re.escape(begin)}\n.*?^{re.escape(end)}$", re.MULTILINE | re.DOTALL
    )
    if len(block.findall(text)) != 1:
        raise SystemExit(f"{card}: expected one block from '{begin}' to '{end}'")
    body = "\n".join([begin, *lines, end])
    return block.sub(lambda _: body, text)


def report(model: str, version: int | str, path: Path, worst: float) -> None:
    print(
        f"{model}/{version}: {path.stat().st_size:,} bytes, "
        f"largest difference from the training library {worst:.1e}"
    )
