"""The demo models' held-out rows, and how a row is written in each dialect."""

import json
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from support.server import MODELS

NUMPY = {"FP32": np.float32, "INT64": np.int64}


@dataclass(frozen=True)
class Tensor:
    name: str
    datatype: str
    values: np.ndarray

    def row(self, index: int) -> "Tensor":
        """One row, still with its batch axis."""
        return Tensor(self.name, self.datatype, self.values[index : index + 1])

    def as_json(self) -> dict:
        return {
            "name": self.name,
            "datatype": self.datatype,
            "shape": list(self.values.shape),
            "data": self.values.ravel().tolist(),
        }


@dataclass(frozen=True)
class Example:
    """What one version is asked and ought to answer."""

    model: str
    version: str
    tolerance: float
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def __str__(self) -> str:
        return f"{self.model}/{self.version}"

    def rows(self) -> list["Example"]:
        """The same, one row at a time."""
        count = len(self.inputs[0].values)
        return [self.row(index) for index in range(count)]

    def row(self, index: int) -> "Example":
        inputs = tuple(tensor.row(index) for tensor in self.inputs)
        outputs = tuple(tensor.row(index) for tensor in self.outputs)
        return replace(self, inputs=inputs, outputs=outputs)

    def path(self, verb: str, root: str = "/v2") -> str:
        return f"{root}/models/{self.model}/versions/{self.version}/{verb}"

    def body(self) -> dict:
        """The request as the Open Inference Protocol's JSON."""
        return {"inputs": [tensor.as_json() for tensor in self.inputs]}

    def assert_answer(self, name: str, values):
        """Holds one output against what it ought to be."""
        wanted = next(tensor.values for tensor in self.outputs if tensor.name == name)
        # JSON's numbers are doubles: back to what the wire's datatype holds.
        values = np.asarray(values, wanted.dtype)
        assert values.shape == wanted.shape, name
        worst = np.max(np.abs(values.astype(np.float64) - wanted.astype(np.float64)), initial=0.0)
        assert worst <= self.tolerance, f"{self} {name}: off by {worst}"


def tensor(entry: dict) -> Tensor:
    values = np.array(entry["data"], NUMPY[entry["datatype"]]).reshape(entry["shape"])
    return Tensor(entry["name"], entry["datatype"], values)


def read(path: Path) -> Example:
    text = json.loads(path.read_text())
    sides = [tuple(tensor(entry) for entry in text[side]) for side in ("inputs", "outputs")]
    return Example(path.parts[-3], path.parts[-2], text["tolerance"], *sides)


EXAMPLES = [read(path) for path in sorted(MODELS.glob("*/*/examples.json"))]
LATEST = {example.model: example.version for example in EXAMPLES}
MANIFESTS = {
    model: tomllib.loads((MODELS / model / "model.toml").read_text()) for model in LATEST
}


def example(model: str, version: str | None = None) -> Example:
    version = version or LATEST[model]
    return next(e for e in EXAMPLES if (e.model, e.version) == (model, version))


def records(asked: Example) -> list[dict]:
    """The rows as the typed API takes them: named features where `model.toml` names them."""
    entries = {entry["name"]: entry for entry in MANIFESTS[asked.model]["inputs"]}
    out: list[dict] = [{} for _ in asked.inputs[0].values]
    for given in asked.inputs:
        features = entries[given.name].get("features")
        for record, row in zip(out, given.values.tolist()):
            if features:
                record.update(zip((feature["name"] for feature in features), row, strict=True))
            else:
                record[given.name] = row
    return out


def tensors_of(asked: Example, predictions: list[dict]) -> dict[str, np.ndarray]:
    """The typed API's predictions, with names and labels turned back into tensors."""
    out = {}
    for entry in MANIFESTS[asked.model]["outputs"]:
        name, labels = entry["name"], entry.get("labels")
        shape = next(tensor.values.shape for tensor in asked.outputs if tensor.name == name)
        values = [prediction.pop(entry.get("as", name)) for prediction in predictions]
        if labels and len(shape) == 1:
            values = [labels.index(value) for value in values]
        elif labels:
            assert all(list(value) == labels for value in values)
            values = [list(value.values()) for value in values]
        out[name] = np.array(values).reshape(shape)
    assert all(prediction == {} for prediction in predictions), "an output nobody knows"
    return out
