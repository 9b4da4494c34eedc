"""Raw values in a profile (`galen profile --samples`): what is served is compared with them as scipy
compares samples, embeddings as rows; without them nothing is kept, and nothing changes.
"""

import csv
import json

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist, jensenshannon

from support import held_out, oip
from support.exposition import Scrape
from support.server import PATIENCE, run, until
from test_drift import add, completed, drift, kept, send, shares_filled, table

DATA = held_out.diabetes()
SAMPLES = 200
ROWS = 400
# A number that no row of training has.
MARK = 77.4375


def settings(path, **drift_settings: int):
    lines = {"window_rows": ROWS, "snapshot_seconds": 1, **drift_settings}.items()
    (path / "galen.toml").write_text("[drift]\n" + "".join(f"{k} = {v}\n" for k, v in lines))


def profiled(registry, tmp_path, model: str, header, rows, *flags: str) -> dict:
    data = tmp_path / f"{model}.csv"
    with data.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    arguments = ["--data", str(data), "--models", str(registry.path), *flags]
    outcome = run("profile", model, *arguments, cwd=tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    return json.loads((registry.path / model / "1" / "profile.json").read_text())


def table_model(registry, tmp_path, model: str, *flags: str) -> dict:
    add(registry, DATA, model)
    return profiled(registry, tmp_path, model, DATA.names, DATA.trained.tolist(), *flags)


def compared(server, model: str, windows: int = 1) -> dict:
    """The report, once so many windows are complete and the last one's raw values are compared."""
    ended = completed(server, model, windows)["window"]["completed_at"]

    def look():
        report = drift(server, model)
        return report["exact"]["completed_at"] == ended and report

    # After one comparison it rests nine times as long: a build without optimisation is slow.
    return until(look, 3 * PATIENCE)


def expected(reference: np.ndarray, current: np.ndarray) -> dict[str, float]:
    """What scipy says, and Evidently's PSI, of two samples of more than 20 distinct values."""
    test = stats.ks_2samp(reference, current)
    distance = stats.wasserstein_distance(reference, current)
    edges = np.histogram_bin_edges(np.concatenate([reference, current]), "sturges")
    if len(np.unique(reference)) <= 20:
        values = np.unique(np.concatenate([reference, current]))
        edges = np.append(values, np.inf)
    p, q = (np.histogram(sample, edges)[0] for sample in (current, reference))
    filled = shares_filled(p), shares_filled(q)
    return {
        "ks": test.statistic,
        "ks_p": test.pvalue,
        "wasserstein": distance,
        "wasserstein_normed": distance / max(reference.std(), 0.001),
        "psi": ((filled[0] - filled[1]) * np.log(filled[0] / filled[1])).sum(),
        "js": jensenshannon(p, q),
    }


def test_raw_values_are_compared_as_scipy_does(registry, start, tmp_path):
    settings(tmp_path)
    profile = table_model(registry, tmp_path, "raw", "--samples", str(SAMPLES))
    without = table_model(registry, tmp_path, "plain")
    assert "samples" not in without
    samples = {(s["of"], s["name"]): np.array(s["values"]) for s in profile["samples"]["columns"]}
    for name in DATA.names:
        values = samples["input", name]
        trained = DATA.trained[:, DATA.column(name)].astype(np.float64)
        assert len(values) == SAMPLES and (np.diff(values) >= 0).all()
        assert np.isin(values, trained).all(), name
    server = start(registry.path).wait_ready()
    rows = DATA.sample(1, ROWS)
    rows[:, DATA.column("bmi")] += 2.5
    rows[0, DATA.column("bmi")] = MARK
    with oip.rest_client(server) as client:
        answer = send(client, "raw", rows)
        send(client, "plain", rows)
    report = compared(server, "raw")
    assert (report["exact"]["rows_max"], report["exact"]["vectors"]) == (5000, [])
    assert (report["exact"]["window_rows"], report["exact"]["rows"]) == (ROWS, ROWS)

    current = {("input", name): rows[:, column] for column, name in enumerate(DATA.names)}
    [output] = report["outputs"]
    current["output", output["name"]] = answer.as_numpy(profile["outputs"][0]["name"]).ravel()
    assert current.keys() == samples.keys()
    found = {("input", f["name"]): f["exact"] for f in report["features"]}
    found["output", output["name"]] = output["exact"]
    lines, scrape = table(server, "/models/raw/drift"), Scrape(server)
    gauges = {
        "galen_drift_exact_ks": "ks",
        "galen_drift_exact_ks_p": "ks_p",
        "galen_drift_exact_wasserstein": "wasserstein_normed",
        "galen_drift_exact_jensen_shannon": "js",
    }
    for (of, name), values in current.items():
        exact = found[of, name]
        assert (exact["rows"], exact["reference_rows"]) == (ROWS, SAMPLES)
        scores = expected(samples[of, name], values.astype(np.float64))
        assert {key: exact[key] for key in scores} == pytest.approx(scores, rel=1e-9, abs=1e-9), name
        label = name if of == "input" else f"output:{name}"
        assert float(lines[label]["ks_p"]) == exact["ks_p"]
        assert float(lines[label]["exact_psi"]) == exact["psi"]
        for gauge, key in gauges.items():
            value = scrape.value(gauge, model="raw", version="1", feature=label)
            assert value == pytest.approx(exact[key], abs=1e-12), (gauge, name)
    assert found["input", "bmi"]["ks_p"] < 1e-6

    # Another profile, the same model and rows: as if there were no raw values at all.
    plain = completed(server, "plain", 1)
    assert "exact" not in plain and not any("exact" in f for f in plain["features"])
    assert [f["scores"] for f in plain["features"]] == [f["scores"] for f in report["features"]]
    assert "ks" not in table(server, "/models/plain/drift")["bmi"]
    assert not any(scrape.samples(gauge, model="plain") for gauge in gauges)

    # Nothing of it is written down, and a restart begins anew.
    until(lambda: kept(registry, "raw").exists())
    assert server.stop() == 0
    start.servers.remove(server)
    last = json.loads(kept(registry, "raw").read_text())["last"]["window"]
    like = json.loads(kept(registry, "plain").read_text())["last"]["window"]
    assert last == like
    assert str(MARK) not in server.log.text()
    report = drift(start(registry.path).wait_ready(), "raw")
    assert report["window"]["completed"] == 1 and report["features"][0]["scores"]
    assert report["exact"]["completed_at"] is None and "exact" not in report["features"][0]


def test_fewer_rows_are_kept_where_fewer_are_asked_for(registry, start, tmp_path):
    settings(tmp_path, exact_rows=50)
    table_model(registry, tmp_path, "m", "--samples", str(SAMPLES))
    server = start(registry.path).wait_ready()
    with oip.rest_client(server) as client:
        send(client, "m", DATA.sample(1, ROWS))
    exact = compared(server, "m")["exact"]
    assert (exact["rows_max"], exact["window_rows"], exact["rows"]) == (50, ROWS, 50)


@pytest.mark.parametrize(("rows", "flags"), [(0, ["--samples", "100"]), (5000, [])])
def test_nothing_is_kept_unless_both_sides_ask(registry, start, tmp_path, rows, flags):
    settings(tmp_path, exact_rows=rows)
    table_model(registry, tmp_path, "m", *flags)
    server = start(registry.path).wait_ready()
    assert "exact" not in drift(server, "m")


def test_what_is_no_number_of_samples_is_refused(registry, tmp_path):
    for count in ("1", "5001", "x"):
        outcome = run("profile", "m", "--data", "x.csv", "--samples", count, cwd=tmp_path)
        assert outcome.returncode == 64 and "--samples" in outcome.stderr
    settings(tmp_path, exact_rows=10_001)
    outcome = run("check", str(registry.path), cwd=tmp_path)
    assert outcome.returncode == 64
    assert "drift.exact_rows: expected 0 to 10000, got 10001" in outcome.stderr


WIDTH, COMPONENTS = 12, 3
MIX = np.random.default_rng(0).normal(size=(COMPONENTS, WIDTH))


def embeddings(seed: int, count: int, subject: float) -> np.ndarray:
    """Vectors that vary in three directions; another subject lies elsewhere on one of them."""
    generator = np.random.default_rng(seed)
    hidden = generator.normal(size=(count, COMPONENTS)) * [3, 2, 1]
    hidden[:, 1] += subject
    noise = generator.normal(scale=0.01, size=(count, WIDTH))
    return (hidden @ MIX + noise).astype(np.float32)


def mmd2(a: np.ndarray, b: np.ndarray) -> float:
    """The unbiased estimate; the kernel's width by the median of all pairs."""
    pooled = np.concatenate([a, b])
    squares = cdist(pooled, pooled, "sqeuclidean")
    kernel = np.exp(-squares / np.median(squares[np.triu_indices(len(pooled), 1)]))
    np.fill_diagonal(kernel, 0)
    n, m = len(a), len(b)
    within = kernel[:n, :n].sum() / (n * (n - 1)) + kernel[n:, n:].sum() / (m * (m - 1))
    return within - 2 * kernel[:n, n:].mean()


@pytest.mark.timeout(180)
def test_embeddings_of_another_subject_are_told_apart(registry, start, tmp_path, figures):
    count = 150
    settings(tmp_path, window_rows=count)
    batches = f"[batching]\nbatch_size_max = {count}"
    registry.add_echo("notes", shape=(-1, WIDTH), settings=batches)
    header = [f"INPUT0[{place}]" for place in range(WIDTH)]
    flags = ("--samples", str(count), "--components", str(COMPONENTS))
    trained = embeddings(1, 400, 0).tolist()
    profile = profiled(registry, tmp_path, "notes", header, trained, *flags)
    rows = {sample["of"]: np.array(sample["rows"]) for sample in profile["samples"]["vectors"]}
    assert {side: sample.shape for side, sample in rows.items()} == {
        "input": (count, COMPONENTS),
        "output": (count, COMPONENTS),
    }
    directions = {p["of"]: p for p in profile["projections"]}
    server = start(registry.path).wait_ready()
    seen = {}
    with oip.rest_client(server) as client:
        for windows, subject in enumerate((0, 3), start=1):
            current = embeddings(windows + 1, count, subject)
            send(client, "notes", current, tensor="INPUT0")
            seen[subject] = compared(server, "notes", windows)["exact"]["vectors"]
            for vector in seen[subject]:
                of = directions[vector["of"]]
                scores = (current - np.array(of["mean"])) @ np.array(of["directions"]).T
                assert vector["mmd2"] == pytest.approx(mmd2(rows[vector["of"]], scores), abs=1e-6)
                assert (vector["rows"], vector["reference_rows"]) == (count, count)
    figures.append(f"vectors: the same {seen[0]}, another subject {seen[3]}")
    scrape = Scrape(server)
    for same, other in zip(seen[0], seen[3], strict=True):
        assert same["mmd_p"] > 0.05 and abs(same["auc"] - 0.5) < 0.15
        assert other["mmd_p"] < 0.02 and other["auc"] > 0.7
        name = other["name"] if other["of"] == "input" else f"output:{other['name']}"
        labels = {"model": "notes", "version": "1", "vector": name}
        for key in ("mmd2", "mmd_p", "auc"):
            assert scrape.value(f"galen_drift_vector_{key}", **labels) == pytest.approx(other[key])
    # One alarming window is no alert, and what rows say is none.
    assert drift(server, "notes")["status"] == "ok"
