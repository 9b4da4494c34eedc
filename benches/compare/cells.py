"""What is asked of every server: the same row of numbers, in the forms that they speak."""

import json
import math
import struct
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

JSON = "application/json"


@dataclass
class Model:
    """One version of a demo model, and one row of its examples."""

    key: str
    name: str
    version: str
    input: str
    shape: list[int]
    row: list[float]
    features: list[str] = field(default_factory=list)

    @property
    def nested(self) -> list:
        """The row as nested lists of its shape."""
        data = self.row
        for extent in reversed(self.shape[1:]):
            data = [data[i : i + extent] for i in range(0, len(data), extent)]
        return data

    @property
    def raw(self) -> bytes:
        return struct.pack(f"<{len(self.row)}f", *self.row)


def models(registry: Path) -> list[Model]:
    found = []
    for key, name, version in [
        ("identity", "identity", "1"),
        ("breast-cancer-1", "breast-cancer", "1"),
        ("breast-cancer-2", "breast-cancer", "2"),
        ("ecg-rhythm", "ecg-rhythm", "1"),
    ]:
        folder = registry / name
        given = json.loads((folder / version / "examples.json").read_text())["inputs"][0]
        shape = [1, *given["shape"][1:]]
        row = given["data"][: math.prod(shape)]
        manifest = tomllib.loads((folder / "model.toml").read_text())
        features = [feature["name"] for feature in manifest["inputs"][0].get("features", [])]
        found.append(Model(key, name, version, given["name"], shape, row, features))
    # A heart that beats 72 times a minute, in all leads: sharp waves with rest between them.
    lead = [round(math.exp(-(((at % 83) - 41) ** 2) / 18), 4) for at in range(1000)]
    found.append(Model("ecg-12-lead", "ecg-12-lead", "1", "ecg", [1, 12, 1000], lead * 12))
    return found


@dataclass
class Call:
    """One request: where, and the bytes."""

    form: str
    url: str
    body: bytes
    content_type: str = JSON
    headers: list[str] = field(default_factory=list)
    tensor: str = ""


def encoded(value) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def typed(model: Model) -> dict:
    """A record of named features; a model without them takes its whole row under one name."""
    if model.features:
        return dict(zip(model.features, model.row, strict=True))
    return {model.input: model.nested[0]}


def v2_head(model: Model) -> dict:
    return {"name": model.input, "datatype": "FP32", "shape": model.shape}


def v2_json(model: Model) -> bytes:
    return encoded({"inputs": [{**v2_head(model), "data": model.row}]})


def v2_grpc(model: Model, address: str, path: str) -> Call:
    tensor = f"{model.input}:FP32:{','.join(map(str, model.shape))}"
    return Call("gRPC raw", f"grpc://{address}/{path}", model.raw, tensor=tensor)


def v2_binary(model: Model, url: str) -> Call:
    size = {"binary_data_size": len(model.raw)}
    head = encoded(
        {
            "inputs": [{**v2_head(model), "parameters": size}],
            "parameters": {"binary_data_output": True},
        }
    )
    length = f"inference-header-content-length: {len(head)}"
    return Call("v2 binary", url, head + model.raw, "application/octet-stream", [length])
