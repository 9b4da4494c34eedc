"""Transformers as Hugging Face's libraries save them, served as they are: all-MiniLM-L6-v2 on the
candle engine, held against sentence-transformers' own answers (`tests/golden/minilm`, made by
`tests/tools/make_transformers.py`) and against the same model as ONNX.
"""

import json
import statistics
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openai
import pytest
import requests
import tokenizers
import tritonclient.grpc
import tritonclient.http
from prometheus_client.parser import text_string_to_metric_families

from support.server import REPOSITORY, Server

WEIGHTS = REPOSITORY / "target" / "minilm"
GOLDEN = REPOSITORY / "tests" / "golden" / "minilm"
SMALL = REPOSITORY / "tests" / "transformers"
TEXTS = json.loads((GOLDEN / "sentences.json").read_text())
EXPECTED = np.load(GOLDEN / "embeddings.npy").astype(np.float32)
CALLERS = 64

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if not (WEIGHTS / ".minilm").is_file():
        pytest.fail(f"there are no weights in {WEIGHTS}: `make venv` fetches them")
    with Server(WEIGHTS, cwd=tmp_path_factory.mktemp("minilm")) as server:
        yield server.wait_ready()


def cosines(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return (found * expected).sum(axis=1) / lengths


def over_http(server: Server, texts: list[str]) -> np.ndarray:
    client = tritonclient.http.InferenceServerClient(server.http)
    given = tritonclient.http.InferInput("text", [len(texts)], "BYTES")
    given.set_data_from_numpy(np.array([text.encode() for text in texts], dtype=object))
    return client.infer("minilm", [given]).as_numpy("embedding")


def over_grpc(server: Server, texts: list[str]) -> np.ndarray:
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        given = tritonclient.grpc.InferInput("text", [len(texts)], "BYTES")
        given.set_data_from_numpy(np.array([text.encode() for text in texts], dtype=object))
        return client.infer("minilm", [given]).as_numpy("embedding")


@pytest.mark.parametrize("ask", [over_http, over_grpc])
def test_embeddings_are_those_of_the_library(server, figures, ask):
    found = np.concatenate([ask(server, TEXTS[at : at + 50]) for at in range(0, 200, 50)])
    alike = cosines(found, EXPECTED)
    figures.append(f"{ask.__name__}: least cosine to sentence-transformers {alike.min():.7f}")
    assert len(alike) == 200 and alike.min() >= 0.9999
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_the_same_model_as_onnx_agrees(server):
    """Tokens made by Hugging Face's tokenizer here, computed by ONNX Runtime there."""
    tokenizer = tokenizers.Tokenizer.from_file(str(WEIGHTS / "minilm/1/tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.enable_padding()
    texts = TEXTS[:40]
    encoded = tokenizer.encode_batch(texts)
    client = tritonclient.http.InferenceServerClient(server.http)
    inputs = []
    for name, rows in [
        ("input_ids", [one.ids for one in encoded]),
        ("attention_mask", [one.attention_mask for one in encoded]),
    ]:
        rows = np.array(rows, dtype=np.int64)
        inputs.append(tritonclient.http.InferInput(name, rows.shape, "INT64"))
        inputs[-1].set_data_from_numpy(rows)
    onnx = client.infer("minilm-onnx", inputs).as_numpy("embedding")
    found = over_http(server, texts)
    assert np.abs(onnx - found).max() < 1e-4
    assert cosines(onnx, found).min() > 0.99999


def counters(server: Server, model: str) -> dict[str, float]:
    families = text_string_to_metric_families(server.metrics().text)
    samples = (sample for family in families for sample in family.samples)
    return {s.name: s.value for s in samples if s.labels.get("model") == model}


def test_callers_share_batches_and_get_what_they_would_alone(server, figures):
    """64 callers with texts of 3 to about 250 tokens, half over each door."""
    texts = [TEXTS[(index * 7) % 200] for index in range(2 * CALLERS)]
    alone = {text: over_http(server, [text])[0] for text in set(texts[:24])}
    before = counters(server, "minilm")

    def ask(index: int) -> np.ndarray:
        return (over_http if index % 2 else over_grpc)(server, [texts[index]])[0]

    with ThreadPoolExecutor(CALLERS) as callers:
        found = list(callers.map(ask, range(len(texts))))
    after = counters(server, "minilm")
    for text, embedding in zip(texts, found, strict=True):
        if text in alone:
            assert np.abs(embedding - alone[text]).max() < 1e-4
    grown = {name: after[name] - before.get(name, 0.0) for name in after}
    calls, tokens = grown["nv_inference_exec_count_total"], grown["galen_inference_tokens_total"]
    spared = grown["galen_inference_padding_tokens_spared_total"]
    figures.append(
        f"{len(texts)} texts of {CALLERS} callers: {calls:.0f} engine calls, {tokens:.0f} tokens, "
        f"{grown['galen_inference_padding_tokens_total']:.0f} of padding, {spared:.0f} spared"
    )
    assert calls < len(texts) / 2
    assert grown["galen_inference_padding_tokens_total"] == 0
    assert spared > tokens / 4


def test_openais_client_gets_embeddings(server):
    client = openai.OpenAI(base_url=f"http://{server.http}/v1", api_key="none")
    # More than one request of the model may hold; the client asks for base64 by itself.
    answer = client.embeddings.create(model="minilm", input=TEXTS[:100])
    found = np.array([entry.embedding for entry in answer.data], dtype=np.float32)
    assert [entry.index for entry in answer.data] == list(range(100))
    assert cosines(found, EXPECTED[:100]).min() >= 0.9999
    assert answer.usage.total_tokens == answer.usage.prompt_tokens > 1000
    one = client.embeddings.create(model="minilm/1", input=TEXTS[7], encoding_format="float")
    assert np.abs(np.array(one.data[0].embedding) - found[7]).max() < 1e-4
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="gpt", input="x")
    with pytest.raises(openai.BadRequestError, match="gives no embeddings of text"):
        client.embeddings.create(model="minilm-onnx", input="x")
    with pytest.raises(openai.BadRequestError, match="have 384"):
        client.embeddings.create(model="minilm", input="x", dimensions=64)


def test_the_typed_api_takes_text(server):
    answer = server.post("/models/minilm/predict", {"records": [{"text": TEXTS[9]}]})
    assert answer.status_code == 200, answer.text
    [prediction] = answer.json()["predictions"]
    assert cosines(np.array([prediction["embedding"]]), EXPECTED[9:10])[0] >= 0.9999
    long = server.post("/models/minilm/predict", {"records": [{"text": "chest pain " * 400}]})
    assert long.status_code == 400
    assert "802 tokens, more than the 256 that the model takes" in long.json()["detail"]


def test_classifiers_answer_with_names(registry, start):
    for name in ("bert-sequence", "bert-tokens"):
        folder = registry.path / name / "1"
        folder.mkdir(parents=True)
        for file in ("model.safetensors", "config.json", "tokenizer.json"):
            (folder / file).write_bytes((SMALL / name / file).read_bytes())
    server = start(registry.path).wait_ready()
    [expected] = json.loads((SMALL / "bert-sequence/expected.json").read_text())[3:4]
    answer = server.post("/models/bert-sequence/predict", {"records": [{"text": expected["text"]}]}).json()
    [prediction] = answer["predictions"]
    assert set(prediction["probabilities"]) == {"benign", "malignant", "unclear"}
    best = max(prediction["probabilities"], key=prediction["probabilities"].get)
    assert prediction["label"] == best
    assert best == ["benign", "malignant", "unclear"][int(np.argmax(expected["numbers"]))]
    answer = server.post("/models/bert-tokens/predict", {"records": [{"text": "Aspirin 100 mg"}]}).json()
    assert isinstance(json.loads(answer["predictions"][0]["entities"]), list)
    configuration = server.get("/v2/models/bert-tokens/config").json()
    assert configuration["backend"] == "candle"


def test_instances_share_the_weights(registry, start, figures):
    resident = []
    for instances in (1, 4):
        folder = registry.path / f"minilm{instances}"
        target = folder / "minilm"
        (target / "1" / "1_Pooling").mkdir(parents=True)
        for file in (WEIGHTS / "minilm/1").rglob("*"):
            if file.is_file():
                place = target / "1" / file.relative_to(WEIGHTS / "minilm/1")
                place.write_bytes(file.read_bytes())
        (target / "model.toml").write_text(f"[engine]\ninstances = {instances}\n")
        server = start(folder).wait_ready()
        with ThreadPoolExecutor(8) as callers:
            list(callers.map(lambda text: over_http(server, [text]), TEXTS[:64]))
        resident.append(statistics.median(server.memory_bytes() for _ in range(3)))
        server.stop()
    figures.append(
        f"resident memory with one instance {resident[0] / 2**20:.0f} MiB, with four "
        f"{resident[1] / 2**20:.0f} MiB"
    )
    assert resident[1] <= 1.3 * resident[0]


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({"model": "minilm"}, "input: expected"),
        ({"model": "minilm", "input": [[1, 2, 3]]}, "a field has another type"),
        ({"model": "minilm", "input": []}, "expected 1 to 2048 texts, got 0"),
        ({"model": "minilm", "input": "x", "encoding_format": "int8"}, "encoding_format"),
    ],
)
def test_errors_have_openais_form(server, body, part):
    answer = requests.post(f"http://{server.http}/v1/embeddings", json=body, timeout=30)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert part in error["message"]
