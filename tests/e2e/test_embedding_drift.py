"""Drift of embeddings: `galen profile` learns where those of training lie (`embedding.norm`,
`embedding.pc1`, ...), and texts of another kind are told by it while texts of the same kind are not.
"""

import codecs
import csv
import json
import random
import re
import shutil

import numpy as np
import pytest
import tritonclient.http as triton_http

from support import oip
from support.server import REPOSITORY, run
from test_drift import completed, named

WEIGHTS = REPOSITORY / "target" / "minilm"
TEXTS = json.loads((REPOSITORY / "tests/golden/minilm/sentences.json").read_text())
SENTENCES = [part for text in TEXTS[4:] for part in re.split(r"(?<=\.)(?<!Mrs\.) ", text)]
PROJECTED = [f"embedding.{name}" for name in ("norm", "pc1", "pc2", "pc3", "pc4")]
# As few as anything is said of.
WINDOW = 500


def clinical(count: int, seed: int, longest: int) -> list[str]:
    """Texts of the golden ones' sentences, as these are put together, up to so many."""
    pick = random.Random(seed)
    lengths = [min(1 + index % 11, longest) for index in range(count)]
    return [" ".join(pick.choices(SENTENCES, k=length)) for length in lengths]


def ciphered(texts: list[str]) -> list[str]:
    """As long, as many words, and no word that means anything."""
    return [codecs.encode(text, "rot13") for text in texts]


def code(count: int) -> list[str]:
    lines = [
        line.strip()[:120]
        for path in sorted((REPOSITORY / "src" / "stats").rglob("*.rs"))
        for line in path.read_text().splitlines()
        if len(line.strip()) > 30 and not line.strip().startswith("//")
    ]
    return random.Random(3).sample(lines, count)


def danish(count: int) -> list[str]:
    pick = random.Random(4)
    parts = (
        ["Vi", "Naboerne", "Min søster", "De gamle fiskere"],
        ["købte", "malede", "glemte", "fandt"],
        ["en rød cykel", "tre kilo kartofler", "et hus ved åen", "billetter til koncerten"],
        ["i går", "på torvet", "efter middagen", "uden at sige noget"],
    )
    return [" ".join(pick.choice(part) for part in parts) + "." for _ in range(count)]


def profiled(registry, model: str, files, texts: list[str], tmp_path) -> dict:
    """A copy of the model with a profile of these texts."""
    folder = registry.path / model / "1"
    shutil.copytree(files, folder)
    data = tmp_path / f"{model}.csv"
    with data.open("w", newline="") as file:
        csv.writer(file).writerows([["text"], *[[text] for text in texts]])
    flags = ["--data", str(data), "--models", str(registry.path)]
    outcome = run("profile", model, *flags, cwd=tmp_path, timeout=240)
    assert outcome.returncode == 0, outcome.stderr
    return json.loads((folder / "profile.json").read_text())


def send(client, model: str, texts: list[str]) -> np.ndarray:
    """The embeddings."""
    found = []
    for at in range(0, len(texts), 50):
        part = np.array([text.encode() for text in texts[at : at + 50]], dtype=object)
        given = triton_http.InferInput("text", part.shape, "BYTES").set_data_from_numpy(part)
        found.append(client.infer(model, [given]).as_numpy("embedding"))
    return np.concatenate(found)


def watched(server, client, model: str, texts: list[str], windows: int) -> dict:
    """The report on these, as the window of this number."""
    send(client, model, texts)
    return completed(server, model, windows)


def outputs(report: dict) -> dict[str, dict]:
    return {output["name"]: output for output in report["outputs"]}


def reasons(report: dict) -> dict[str, list[str]]:
    return {name: output["reasons"] for name, output in outputs(report).items() if output["reasons"]}


def settings(path):
    (path / "galen.toml").write_text(f"[drift]\nwindow_rows = {WINDOW}\n")


@pytest.mark.timeout(400)
def test_as_long_but_of_other_words(registry, start, tmp_path, figures):
    """The same sentences, ciphered: their length says nothing, their embeddings do."""
    files = REPOSITORY / "tests" / "transformers" / "modernbert-embedding"
    profile = profiled(registry, "notes", files, clinical(600, 1, 1), tmp_path)
    names = [output["name"] for output in profile["outputs"]]
    assert [name for name in names if name in PROJECTED] == PROJECTED
    settings(tmp_path)
    server = start(registry.path).wait_ready()
    with oip.rest_client(server) as client:
        watched(server, client, "notes", clinical(WINDOW, 2, 1), 1)
        same = clinical(WINDOW, 3, 1)
        embeddings = send(client, "notes", same)
        report = completed(server, "notes", 2)
        assert report["status"] == "ok" and not named(report, "alarm"), reasons(report)

        # The scores are those of the projection in the file, applied by numpy.
        [projection] = profile["projections"]
        assert (projection["of"], projection["name"]) == ("output", "embedding")
        directions = np.array(projection["directions"])
        assert np.allclose(directions @ directions.T, np.eye(4), atol=1e-4)
        window = embeddings.astype(np.float64)
        scores = (window - np.array(projection["mean"])) @ directions.T
        norms = np.linalg.norm(window, axis=1)
        for name, values in zip(PROJECTED, [norms, *scores.T], strict=True):
            current = outputs(report)[name]["current"]
            scale = max(abs(values).max(), 1e-6)
            assert current["mean"] == pytest.approx(values.mean(), abs=3e-5 * scale), name
            assert current["std"] == pytest.approx(values.std(), abs=3e-5 * scale), name

        watched(server, client, "notes", ciphered(same), 3)
        report = watched(server, client, "notes", ciphered(clinical(WINDOW, 2, 1)), 4)
    figures.append(f"ciphered: {reasons(report)}")
    assert report["status"] == "alert"
    alerts = named(report)
    assert "text.length" not in alerts
    assert alerts & {f"output:{name}" for name in PROJECTED[1:]}
    assert not any("unit" in reason for name in PROJECTED[1:] for reason in outputs(report)[name]["reasons"])


@pytest.mark.timeout(400)
def test_texts_of_another_kind(registry, start, tmp_path, figures):
    """all-MiniLM-L6-v2 with a profile of the 200 golden texts, cut after two sentences for time."""
    if not (WEIGHTS / ".minilm").is_file():
        pytest.fail(f"there are no weights in {WEIGHTS}: `make venv` fetches them")
    texts = [" ".join(re.split(r"(?<=\.)(?<!Mrs\.) ", text)[:2]) for text in TEXTS]
    profile = profiled(registry, "minilm", WEIGHTS / "minilm" / "1", texts, tmp_path)
    names = [output["name"] for output in profile["outputs"]]
    assert names[2:7] == PROJECTED
    size = (registry.path / "minilm" / "1" / "profile.json").stat().st_size
    settings(tmp_path)
    server = start(registry.path).wait_ready()
    kinds = {"code": code(WINDOW), "danish": danish(WINDOW)}
    with oip.rest_client(server) as client:
        report = watched(server, client, "minilm", clinical(WINDOW, 5, 2), 1)
        same = {name: outputs(report)[name]["scores"]["psi"] for name in PROJECTED}
        figures.append(f"profile {size} bytes; PSI of the same kind {same}")
        assert not reasons(report), (same, reasons(report))
        for windows, (kind, texts) in enumerate(kinds.items(), start=2):
            report = watched(server, client, "minilm", texts, windows)
            found = reasons(report)
            figures.append(f"{kind}: {found}")
            assert any(name in found for name in PROJECTED[1:]), (kind, found)
    # The second window in a row.
    assert named(report) & {f"output:{name}" for name in PROJECTED[1:]}
