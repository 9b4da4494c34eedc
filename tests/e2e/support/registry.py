"""Model registries made for one test: folders with models of the identity engine, or copies."""

import json
import shutil
from pathlib import Path

from support.server import MODELS


class Registry:
    """A registry directory of its own."""

    def __init__(self, path: Path):
        self.path = path
        path.mkdir()

    def add_demo(self, model: str, name: str | None = None) -> Path:
        """A copy of a demo model; gives back its folder."""
        return shutil.copytree(MODELS / model, self.path / (name or model))

    def add_onnx(self, name: str, model: bytes, version: int = 1) -> Path:
        """A model of nothing but its file; gives back its folder."""
        folder = self.path / name
        (folder / str(version)).mkdir(parents=True)
        (folder / str(version) / "model.onnx").write_bytes(model)
        return folder

    def add_echo(
        self,
        name: str,
        versions: tuple[int, ...] = (1,),
        datatypes: tuple[str, ...] = ("FP32",),
        shape: tuple[int, ...] = (-1, -1),
        delay_us: int = 0,
        settings: str = "",
    ) -> Path:
        """A model that answers with its inputs: INPUT0 comes back as OUTPUT0, and so on."""
        lines = ['backend = "identity"', settings, f"[identity]\ndelay_us = {delay_us}"]
        for index, datatype in enumerate(datatypes):
            rest = f'datatype = "{datatype}"\nshape = {json.dumps(shape)}\n'
            lines.append(f'[[inputs]]\nname = "INPUT{index}"\n{rest}')
            lines.append(f'[[outputs]]\nname = "OUTPUT{index}"\n{rest}')
        folder = self.path / name
        for version in versions:
            (folder / str(version)).mkdir(parents=True)
        (folder / "model.toml").write_text("\n".join(lines))
        return folder
