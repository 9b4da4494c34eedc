"""`galen profile`: training rows in, a reference profile out, and nothing that tells of one person."""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from support import held_out
from support.demo import MANIFESTS, example
from support.server import MODELS, run

MODEL = "breast-cancer"
NAMES = [feature["name"] for feature in MANIFESTS[MODEL]["inputs"][0]["features"]]
REPEATS = 2
PARQUET = Path(__file__).resolve().parents[1] / "parquet"
COMPONENTS = ("pc1", "pc2", "pc3", "pc4")
TRAINED = sorted(
    path.parent for path in MODELS.glob("*/*/model.onnx") if path.parts[-3] != "add-sub"
)


def write(path, header, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def rows() -> list[list[str]]:
    values = example(MODEL, "1").inputs[0].values
    return [[str(x) for x in row] for row in np.tile(values, (REPEATS, 1))]


def refused(tmp_path, data, *flags, model=MODEL) -> str:
    outcome = run(
        "profile", model, "--data", str(data), "--models", str(MODELS), *flags, cwd=tmp_path
    )
    assert outcome.returncode != 0 and outcome.stdout == ""
    return outcome.stderr


def test_a_profile_of_rows(tmp_path, rows):
    registry = tmp_path / "models"
    shutil.copytree(MODELS / MODEL, registry / MODEL)
    (registry / MODEL / "1" / "profile.json").unlink(missing_ok=True)
    rows[0][3] = ""
    data = write(tmp_path / "train.csv", [*NAMES, "target"], [[*row, "1"] for row in rows])
    arguments = ["profile", f"{MODEL}/1", "--data", str(data), "--models", str(registry)]
    outcome = run(*arguments, cwd=tmp_path)
    # The model can not do with a missing value: its answer is missing, too.
    assert outcome.returncode == 0, outcome.stderr
    assert "columns that are no feature: target" in outcome.stdout
    assert "80 rows, 30 features and 3 outputs" in outcome.stdout

    folder = registry / MODEL / "1"
    assert {path.suffix for path in folder.iterdir()} == {".json", ".onnx"}
    text = (folder / "profile.json").read_text()
    profile = json.loads(text)
    assert profile["schema"] == "galen.profile/1"
    assert profile["source"] == {
        "name": "train.csv",
        "rows": 80,
        "sha256": hashlib.sha256(data.read_bytes()).hexdigest(),
    }
    assert profile["model_sha256"] == hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    assert [feature["name"] for feature in profile["features"]] == NAMES
    outputs = {output["name"]: output for output in profile["outputs"]}
    assert list(outputs) == ["diagnosis", "probabilities[malignant]", "probabilities[benign]"]
    assert {c["name"] for c in outputs["diagnosis"]["categories"]} == {"malignant", "benign"}

    column = np.array([float(row[0]) for row in rows], np.float32).astype(np.float64)
    radius = profile["features"][0]
    assert radius["count"] == 80 and radius["missing"] == 0
    assert radius["mean"] == pytest.approx(column.mean(), rel=1e-8)
    assert radius["std_pop"] == pytest.approx(column.std(), rel=1e-8)
    edges = radius["bins"]["edges"]
    expected = np.quantile(column, np.arange(1, 10) / 10)
    assert edges == pytest.approx(list(expected), rel=1e-8)
    counts, _ = np.histogram(column, [-np.inf, *edges, np.inf])
    assert radius["bins"]["counts"] == counts.tolist()
    assert radius["min"] <= column.min() and radius["max"] >= column.max()
    for feature in profile["features"]:
        assert min(feature["bins"]["counts"]) >= 5, feature["name"]
        # One missing value is too few to be told.
        assert feature["missing"] == 0

    again = run(*arguments, "--out", "other.json", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "other.json").read_text() == text


def quantile(held_out: np.ndarray, trained: np.ndarray, size: int = 500) -> float:
    """The population stability index that one in a thousand windows of these rows exceeds: drawn
    once more, by another generator."""
    p = np.random.default_rng(1).multinomial(size, held_out / held_out.sum(), 50_000) / size
    q = trained / trained.sum()
    p, q = np.where(p == 0, 1e-4, p), np.where(q == 0, 1e-4, q)
    return np.quantile(((p - q) * np.log(p / q)).sum(axis=1), 0.999)


@pytest.mark.parametrize("version", ["1", "2"])
def test_held_out_rows_limit_alerts(tmp_path, version):
    data = held_out.breast_cancer()
    assert data.names == tuple(NAMES)
    as_text = lambda rows: [[str(x) for x in row] for row in rows]  # noqa: E731
    train = write(tmp_path / "breast-cancer-train.csv", NAMES, as_text(data.trained))
    others = write(tmp_path / "breast-cancer-held-out.csv", NAMES, as_text(data.held_out))
    for path in (train, others):
        # As make_profiles.py writes them.
        path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n"))
    arguments = ["profile", f"{MODEL}/{version}", "--data", str(train), "--models", str(MODELS)]
    outcome = run(*arguments, "--held-out", str(others), "--out", "profile.json", cwd=tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    text = (tmp_path / "profile.json").read_text()
    profile = json.loads(text)
    assert profile["held_out"] == {
        "name": "breast-cancer-held-out.csv",
        "rows": 143,
        "sha256": hashlib.sha256(others.read_bytes()).hexdigest(),
    }
    shipped = json.loads((MODELS / MODEL / version / "profile.json").read_text())
    # Another processor may round a probability's last digit.
    assert profile["features"] == shipped["features"] and profile["held_out"] == shipped["held_out"]
    for column, feature in enumerate(profile["features"]):
        edges = [-np.inf, *feature["bins"]["edges"], np.inf]
        counts, _ = np.histogram(data.held_out[:, column].astype(np.float64), edges)
        expected = quantile(counts, np.array(feature["bins"]["counts"]))
        # One is estimated from 2,000 draws, the other one from 50,000.
        assert feature["psi_limit"] == pytest.approx(expected, rel=0.07), feature["name"]
    assert all(output["psi_limit"] > 0 for output in profile["outputs"])

    plain = run(*arguments, "--out", "plain.json", cwd=tmp_path)
    assert plain.returncode == 0, plain.stderr
    without = (tmp_path / "plain.json").read_text()
    assert "psi_limit" not in without and "held_out" not in without


def test_rows_that_are_not_held_out_are_refused(tmp_path, rows):
    data = write(tmp_path / "train.csv", NAMES, rows)
    assert "expected rows that were held out" in refused(
        tmp_path, data, "--held-out", str(data), "--out", "profile.json"
    )
    few = write(tmp_path / "few.csv", NAMES, rows[:49])
    flags = ("--held-out", str(few), "--out", "profile.json")
    assert "few.csv has 49 rows" in refused(tmp_path, data, *flags)
    flags = ("--held-out", str(tmp_path / "absent.csv"), "--out", "profile.json")
    assert "absent.csv" in refused(tmp_path, data, *flags)
    assert not (tmp_path / "profile.json").exists()


def test_a_signal_is_reduced(tmp_path):
    windows = np.tile(example("ecg-rhythm").inputs[0].values[:, 0, :], (3, 1))
    header = [f"ecg[{sample}]" for sample in range(windows.shape[1])]
    data = write(tmp_path / "train.csv", header, windows.tolist())
    flags = ["--data", str(data), "--models", str(MODELS), "--out", "profile.json"]
    outcome = run("profile", "ecg-rhythm", *flags, cwd=tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    profile = json.loads((tmp_path / "profile.json").read_text())
    names = [[f["name"] for f in profile[side]] for side in ("features", "outputs")]
    assert names == [
        ["ecg.mean", "ecg.std"],
        [f"beat_probability.{part}" for part in ("mean", "std", "norm", *COMPONENTS)],
    ]
    stds = windows.astype(np.float32).astype(np.float64).std(axis=1)
    assert profile["features"][1]["mean"] == pytest.approx(stds.mean(), rel=1e-6)


def test_vectors_are_projected_as_told(tmp_path):
    windows = np.tile(example("ecg-rhythm").inputs[0].values[:, 0, :], (3, 1))
    header = [f"ecg[{sample}]" for sample in range(windows.shape[1])]
    data = write(tmp_path / "train.csv", header, windows.tolist())
    flags = ["--data", str(data), "--models", str(MODELS), "--out", "profile.json"]
    for count in (0, 2):
        outcome = run("profile", "ecg-rhythm", *flags, "--components", str(count), cwd=tmp_path)
        assert outcome.returncode == 0, outcome.stderr
        profile = json.loads((tmp_path / "profile.json").read_text())
        names = [output["name"].split(".")[1] for output in profile["outputs"]]
        assert names == ["mean", "std", *(("norm", *COMPONENTS[:count]) if count else ())]
        assert ("projections" in profile) == (count > 0)
    [projection] = profile["projections"]
    assert (projection["of"], projection["name"]) == ("output", "beat_probability")
    assert np.array(projection["directions"]).shape == (2, 90)
    assert "0..=8" in refused(tmp_path, data, "--components", "9")


def test_data_that_do_not_fit(tmp_path, rows):
    def of(header, rows):
        return write(tmp_path / "train.csv", header, rows)

    few = refused(tmp_path, of(NAMES, rows[:49]))
    assert "49 rows; a profile needs 50" in few
    typo = refused(tmp_path, of(["mean_radios", *NAMES[1:]], rows))
    assert "no column 'mean_radius'" in typo and "is it 'mean_radios'?" in typo
    rows[4][2] = "SECRET"
    wrong = refused(tmp_path, of(NAMES, rows))
    assert "row 5: 'mean_perimeter' is no number" in wrong and "SECRET" not in wrong
    rows[4] = rows[4][:-1]
    assert "29 fields" in refused(tmp_path, of(NAMES, rows))
    long = tmp_path / "long.csv"
    long.write_text(",".join(NAMES) + "\n" + "1" * (5 << 20))
    assert "a line is longer" in refused(tmp_path, long)
    parquet = tmp_path / "train.csv"
    parquet.write_bytes(b"PAR1....")
    assert "train.csv can not be read as Parquet" in refused(tmp_path, parquet)
    assert "no-such.csv" in refused(tmp_path, tmp_path / "no-such.csv")
    data = of(NAMES, rows[:4])
    assert "no-such-model" in refused(tmp_path, data, model="no-such-model")
    assert "MODEL/VERSION" in refused(tmp_path, data, model="a/b")
    assert "could not be written" in refused(
        tmp_path, of(NAMES, rows[:4] * 20), "--out", "no/such/folder.json"
    )


# The columns of tests/parquet/table.csv as inputs; outputs are the same.
TABLE = """
name = "vitals"
datatype = "FP64"
shape = [-1, 4]
[[{side}.features]]
name = "age"
[[{side}.features]]
name = "bmi"
[[{side}.features]]
name = "dose"
[[{side}.features]]
name = "visits"
[[{side}]]
name = "smoker"
datatype = "BOOL"
shape = [-1]
[[{side}]]
name = "temperature"
datatype = "FP32"
shape = [-1]
[[{side}]]
name = "ward"
datatype = "BYTES"
shape = [-1]
[[{side}]]
name = "note"
datatype = "BYTES"
shape = [-1]
[[{side}]]
name = "strip"
datatype = "FP32"
shape = [-1, 4]
[[{side}]]
name = "grid"
datatype = "INT64"
shape = [-1, 2, 2]
"""


@pytest.fixture
def table_model(tmp_path) -> list[str]:
    """The arguments of a profile of a model that takes the columns of tests/parquet."""
    folder = tmp_path / "models" / "table"
    (folder / "1").mkdir(parents=True)
    inputs = "[[inputs]]" + TABLE.format(side="inputs")
    plain = [line for line in TABLE.splitlines() if line not in FEATURES]
    outputs = "[[outputs]]" + "\n".join(plain).format(side="outputs")
    (folder / "model.toml").write_text(f'backend = "identity"\n{inputs}{outputs}')
    return ["profile", "table", "--models", str(tmp_path / "models")]


FEATURES = {"[[{side}.features]]"} | {
    f'name = "{name}"' for name in ("age", "bmi", "dose", "visits")
}


@pytest.mark.parametrize("name", ["plain", "snappy", "gzip", "zstd"])
def test_a_parquet_file_is_the_table_that_it_holds(tmp_path, table_model, name):
    def profile(data, *flags) -> str:
        # Not told by its name.
        copy = shutil.copy(data, tmp_path / "train.data")
        outcome = run(*table_model, "--data", str(copy), "--out", "out.json", *flags, cwd=tmp_path)
        assert outcome.returncode == 0, outcome.stderr
        text = (tmp_path / "out.json").read_text()
        digest = hashlib.sha256(data.read_bytes()).hexdigest()
        assert text.count(digest) == 1
        return text.replace(digest, "")

    expected = profile(PARQUET / "table.csv")
    assert profile(PARQUET / f"{name}.parquet") == expected
    assert '"grid[1].mean"' in expected and '"ward 2"' in expected and '"missing":7' in expected
    limits = [
        profile(PARQUET / "plain.parquet", "--held-out", str(PARQUET / file))
        for file in ("table.csv", f"{name}.parquet")
        if name != "plain"
    ]
    limits = [json.loads(text)["features"] for text in limits]
    assert limits[:1] == limits[1:]


def test_what_a_parquet_file_does_not_hold_is_told(tmp_path, table_model):
    def refused(data) -> str:
        flags = ["--data", str(data), "--out", "out.json"]
        outcome = run(*table_model, *flags, cwd=tmp_path)
        assert outcome.returncode == 1 and outcome.stdout == "" and "panic" not in outcome.stderr
        return outcome.stderr

    assert "no column 'bmi'" in refused(PARQUET / "brotli.parquet")
    whole = (PARQUET / "zstd.parquet").read_bytes()
    data = tmp_path / "train.parquet"
    data.write_bytes(whole[:-1])
    assert "train.parquet can not be read as Parquet" in refused(data)
    # The first page of the first column.
    data.write_bytes(whole[:4] + bytes(200) + whole[204:])
    assert "row 1 of train.parquet can not be read" in refused(data)
    toml = tmp_path / "models" / "table" / "model.toml"
    toml.write_text(toml.read_text().replace("visits", "admitted"))
    assert "'admitted' is a timestamp" in refused(PARQUET / "plain.parquet")


@pytest.mark.parametrize("folder", TRAINED, ids=lambda path: "/".join(path.parts[-2:]))
def test_demo_models_have_the_profile_of_their_file(folder):
    profile = json.loads((folder / "profile.json").read_text())
    assert profile["model_sha256"] == hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    names = {feature["name"] for feature in profile["features"]}
    entry = MANIFESTS[folder.parts[-2]]["inputs"][0]
    expected = {feature["name"] for feature in entry.get("features", [])}
    assert names == (expected or {"ecg.mean", "ecg.std"})
