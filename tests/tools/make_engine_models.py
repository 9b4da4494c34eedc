#!/usr/bin/env python3
"""Writes the models that tests/engines.rs runs on every engine.

Usage: make_engine_models.py [FOLDER]     default: tests/engines

The versions are those of models/training/requirements.txt (onnx==1.23.2, onnxruntime==1.32.0,
numpy==2.4.6, scikit-learn==1.9.1, skl2onnx==1.20.0); another version may give other bytes, the same
versions give the same. A `sklearn-*.onnx` has a `.json` beside it, in the format of examples.json:
rows, and what scikit-learn itself predicts for them. null stands for a missing value there.
"""

import itertools
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto as T
from onnx import helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType
from sklearn.base import is_classifier
from sklearn.cluster import KMeans
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import (
    GradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer, MaxAbsScaler, Normalizer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

SEED = 20240229
ROWS = 24
TOLERANCE = 1e-5
OPSET = {"": 17, "ai.onnx.ml": 3}
IR_VERSION = 8
ML = "ai.onnx.ml"

NUMBERS = [
    T.BOOL, T.UINT8, T.UINT16, T.UINT32, T.UINT64, T.INT8, T.INT16, T.INT32, T.INT64,
    T.FLOAT16, T.FLOAT, T.DOUBLE,
]  # fmt: skip

folder = Path(__file__).resolve().parent.parent / "engines"


def value(name, dtype, dims):
    """A tensor's declaration; None in dims is an extent without a name, dims None no shape."""
    return helper.make_tensor_value_info(name, dtype, dims)


def constant(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def save(name, model, check=True):
    model.ir_version = IR_VERSION
    del model.opset_import[:]
    domains = sorted({""} | {node.domain for node in model.graph.node})
    model.opset_import.extend(helper.make_opsetid(d, OPSET.get(d, 1)) for d in domains)
    if check:
        onnx.checker.check_model(model)
    (folder / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))


def graph(name, nodes, inputs, outputs, constants=(), check=True):
    made = helper.make_graph(nodes, name, inputs, outputs, initializer=list(constants))
    save(name, helper.make_model(made, producer_name="galen"), check)


# --- the contract ----------------------------------------------------------


def identities():
    def identity(name, dtypes):
        names = [T.DataType.Name(dtype).lower() for dtype in dtypes]
        graph(
            name,
            [helper.make_node("Identity", [n], [f"{n}_out"]) for n in names],
            [value(n, d, ["rows", "columns"]) for n, d in zip(names, dtypes)],
            [value(f"{n}_out", d, ["rows", "columns"]) for n, d in zip(names, dtypes)],
        )

    identity("identity", NUMBERS)
    identity("identity-bf16", [T.BFLOAT16])
    identity("identity-string", [T.STRING])


def shapes():
    node = helper.make_node
    # y = x w + b: rows, columns and an axis of each kind.
    weights = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    graph(
        "affine",
        [node("Gemm", ["x", "w", "b"], ["y"])],
        [value("x", T.FLOAT, ["batch", 4])],
        [value("y", T.FLOAT, ["batch", 3])],
        [constant("w", weights), constant("b", np.float32([0.5, -0.5, 0]))],
    )
    # Rows without a name on both inputs, and two outputs that leave extents to be found.
    graph(
        "unnamed",
        [node("Concat", ["a", "b"], ["both"], axis=1), node("ReduceSum", ["both", "one"], ["sum"])],
        [value("a", T.FLOAT, [None, 2]), value("b", T.FLOAT, [None, 1])],
        [value("both", T.FLOAT, [None, None]), value("sum", T.FLOAT, [None, None])],
        [constant("one", np.int64([1]))],
    )
    # Two names for one extent: no plan holds for both, and none should be needed.
    graph(
        "two-names",
        [node("Add", ["a", "b"], ["sum"])],
        [value("a", T.FLOAT, ["left"]), value("b", T.FLOAT, ["right"])],
        [value("sum", T.FLOAT, ["either"])],
    )
    # First axes that count different things.
    graph(
        "pick",
        [node("Gather", ["table", "places"], ["picked"], axis=0)],
        [value("table", T.FLOAT, [None, 2]), value("places", T.INT64, [None])],
        [value("picked", T.FLOAT, [None, 2])],
    )
    graph(
        "scalar",
        [node("Mul", ["x", "two"], ["y"]), node("ReduceMax", ["x"], ["most"], keepdims=0)],
        [value("x", T.FLOAT, [])],
        [value("y", T.FLOAT, []), value("most", T.FLOAT, [])],
        [constant("two", np.float32(2))],
    )
    graph(
        "total",
        [node("ReduceSum", ["x"], ["total"], keepdims=0)],
        [value("x", T.FLOAT, ["batch", 3])],
        [value("total", T.FLOAT, [])],
    )
    graph(
        "dims",
        [node("Shape", ["x"], ["dims"]), node("Size", ["x"], ["size"])],
        [value("x", T.FLOAT, ["batch", 3])],
        [value("dims", T.INT64, [2]), value("size", T.INT64, [])],
    )
    graph(
        "conv",
        [
            node("Conv", ["x", "w"], ["c"], kernel_shape=[3], pads=[1, 1]),
            node("Relu", ["c"], ["r"]),
            node("GlobalAveragePool", ["r"], ["p"]),
            node("Flatten", ["p"], ["y"]),
        ],
        [value("x", T.FLOAT, ["batch", 2, "time"])],
        [value("y", T.FLOAT, ["batch", 3])],
        [constant("w", np.linspace(-1, 1, 18, dtype=np.float32).reshape(3, 2, 3))],
    )


def recurrent():
    random = np.random.default_rng(SEED)
    weights = {
        name: random.uniform(-1, 1, shape).astype(np.float32)
        for name, shape in {"w": (1, 12, 2), "r": (1, 12, 3), "b": (1, 24)}.items()
    }
    graph(
        "lstm",
        [helper.make_node("LSTM", ["x", "w", "r", "b"], ["all", "last"], hidden_size=3)],
        [value("x", T.FLOAT, ["time", "batch", 2])],
        [value("all", T.FLOAT, ["time", 1, "batch", 3]), value("last", T.FLOAT, [1, "batch", 3])],
        [constant(name, array) for name, array in weights.items()],
    )


def refusals():
    node = helper.make_node
    graph(
        "gather",
        [node("Gather", ["table", "places"], ["picked"])],
        [value("places", T.INT64, ["batch"])],
        [value("picked", T.FLOAT, ["batch"])],
        [constant("table", np.arange(10, dtype=np.float32))],
    )
    graph(
        "pairs",
        [node("Reshape", ["x", "shape"], ["y"])],
        [value("x", T.FLOAT, ["batch"])],
        [value("y", T.FLOAT, ["half", 2])],
        [constant("shape", np.int64([-1, 2]))],
    )
    # Refused at load: an operator nobody has, one of a foreign domain, a map, data elsewhere.
    one = [value("x", T.FLOAT, ["batch"])], [value("y", T.FLOAT, ["batch"])]
    graph("unknown-operator", [node("NoSuchThing", ["x"], ["y"])], *one, check=False)
    graph("foreign-operator", [node("Relu", ["x"], ["y"], domain="org.example")], *one, check=False)
    graph("no-output", [node("Relu", ["x"], ["z"])], *one, check=False)
    elsewhere = constant("w", np.ones(4, dtype=np.float32))
    elsewhere.ClearField("raw_data")
    elsewhere.data_location = T.EXTERNAL
    # A file that is there wherever the tests run, so that only a refusal can fail.
    for key, text in {"location": "LICENSE", "offset": "0", "length": "16"}.items():
        elsewhere.external_data.add(key=key, value=text)
    made = value("x", T.FLOAT, [4]), value("y", T.FLOAT, [4])
    add = node("Add", ["x", "w"], ["y"])
    graph("external", [add], made[:1], made[1:], [elsewhere], check=False)


def quantised():
    node = helper.make_node
    weights = np.int8(np.linspace(-100, 100, 12)).reshape(4, 3)
    graph(
        "quantised",
        [
            node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
            node("QLinearMatMul", ["xq", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["q"]),
            node("DequantizeLinear", ["q", "ys", "yz"], ["y"]),
        ],
        [value("x", T.FLOAT, ["batch", 4])],
        [value("y", T.FLOAT, ["batch", 3]), value("q", T.UINT8, ["batch", 3])],
        [
            constant("xs", np.float32(0.05)), constant("xz", np.uint8(128)),
            constant("w", weights), constant("ws", np.float32(0.01)), constant("wz", np.int8(0)),
            constant("ys", np.float32(0.1)), constant("yz", np.uint8(100)),
        ],  # fmt: skip
    )


# --- operators of ai.onnx.ml -----------------------------------------------


def random_trees(seed, trees, modes, features, missing):
    """Random trees of three levels, as the lists of attributes."""
    random = np.random.default_rng(seed)
    lists = {name: [] for name in ("treeids", "nodeids", "featureids", "values", "modes")}
    lists |= {name: [] for name in ("truenodeids", "falsenodeids", "missing_value_tracks_true")}
    leaves = []
    for tree in range(trees):
        for number in range(7):
            leaf = number >= 3
            lists["treeids"].append(tree)
            lists["nodeids"].append(number)
            lists["featureids"].append(0 if leaf else int(random.integers(features)))
            lists["values"].append(0.0 if leaf else float(random.integers(-3, 4)) / 2)
            lists["modes"].append("LEAF" if leaf else str(random.choice(modes)))
            lists["truenodeids"].append(0 if leaf else 2 * number + 1)
            lists["falsenodeids"].append(0 if leaf else 2 * number + 2)
            flag = int(random.integers(2)) if missing and not leaf else 0
            lists["missing_value_tracks_true"].append(flag)
            if leaf:
                leaves.append((tree, number))
    return {f"nodes_{name}": entries for name, entries in lists.items()}, leaves


def votes(prefix, leaves, targets, seed, low):
    """One vote of each leaf for each of the targets, those of `low` 0 all positive."""
    random = np.random.default_rng(seed)
    listed = [(*leaf, target) for leaf in leaves for target in targets]
    return {
        f"{prefix}_treeids": [tree for tree, _, _ in listed],
        f"{prefix}_nodeids": [number for _, number, _ in listed],
        f"{prefix}_ids": [target for _, _, target in listed],
        f"{prefix}_weights": [float(w) for w in random.uniform(low, 0.3, len(listed))],
    }


MODES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
TRANSFORMS = ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT"]


class Many:
    """One input, and many nodes on it that each give outputs of their own."""

    def __init__(self, name, columns, dtype=T.FLOAT):
        self.name, self.nodes, self.outputs = name, [], []
        self.input = value("x", dtype, ["batch", columns])

    def add(self, operator, outputs, **attributes):
        stem = f"{operator}.{len(self.nodes)}.{attributes.get('post_transform', 'NONE')}"
        names = [f"{stem}.{i}" for i in range(len(outputs))]
        self.nodes.append(helper.make_node(operator, ["x"], names, domain=ML, **attributes))
        self.outputs += [value(n, d, ["batch", *dims]) for n, (d, dims) in zip(names, outputs)]

    def save(self):
        graph(self.name, self.nodes, [self.input], self.outputs)


def tree_operators(name, dtype, transforms):
    many = Many(name, 4, dtype)
    voters = [(2, [0]), (2, [1]), (2, [0, 1]), (3, [0, 1, 2]), (3, [1])]
    for seed, case in enumerate(itertools.product(transforms, voters)):
        transform, (classes, voted) = case
        for bases, low in itertools.product((0, 1, classes), (0.0, -0.3)):
            # Not defined by anyone: ONNX Runtime leaves the second score as it finds it.
            if (classes, bases) == (3, 1) or (transform == "PROBIT" and classes == 2 and bases < 2):
                continue
            nodes, leaves = random_trees(seed, 2, MODES, 4, missing=True)
            labels = [5, 7, 9] if classes == 3 else [0, 1]
            base = {"base_values": [0.2, 0.1, 0.3][:bases]} if bases else {}
            many.add(
                "TreeEnsembleClassifier", [(T.INT64, []), (T.FLOAT, [classes])],
                classlabels_int64s=labels, post_transform=transform, **base,
                **nodes, **votes("class", leaves, voted, seed, low),
            )  # fmt: skip
    # ONNX Runtime has no regressor for integers.
    aggregates = [] if dtype == T.INT64 else ["SUM", "AVERAGE", "MIN", "MAX"]
    for seed, (transform, aggregate) in enumerate(itertools.product(transforms, aggregates)):
        for targets, based in itertools.product((1, 2), (False, True)):
            mode = MODES[seed % len(MODES)]
            nodes, leaves = random_trees(seed + 100, 2, [mode], 4, missing=bool(seed % 2))
            base = {"base_values": [0.25, 0.125][:targets]} if based else {}
            many.add(
                "TreeEnsembleRegressor", [(T.FLOAT, [targets])],
                n_targets=targets, aggregate_function=aggregate, post_transform=transform, **base,
                **nodes, **votes("target", leaves, range(targets), seed, 0.0),
            )  # fmt: skip
    many.save()


def row_operators(name, dtype):
    many = Many(name, 4, dtype)
    random = np.random.default_rng(SEED)
    for transform, scores in itertools.product(TRANSFORMS, (1, 2, 3)):
        weights = [float(w) for w in random.uniform(-0.4, 0.4, 4 * scores)]
        intercepts = [float(w) for w in random.uniform(0.2, 0.8, scores)]
        if (transform, scores) != ("PROBIT", 1):
            classes = max(scores, 2)
            labels = [4, 5, 6][:classes]
            many.add(
                "LinearClassifier", [(T.INT64, []), (T.FLOAT, [classes])], coefficients=weights,
                intercepts=intercepts, post_transform=transform, classlabels_ints=labels,
            )  # fmt: skip
        if dtype == T.FLOAT:
            many.add(
                "LinearRegressor", [(T.FLOAT, [scores])], coefficients=weights,
                intercepts=intercepts, targets=scores, post_transform=transform,
            )  # fmt: skip
    wide = [(T.FLOAT, [4])]
    many.add("Scaler", wide, offset=[1.0, -2.0, 0.5, 0.0], scale=[0.5, 2.0, -1.0, 3.0])
    many.add("Scaler", wide, offset=[0.25], scale=[4.0])
    for norm in ("MAX", "L1", "L2"):
        many.add("Normalizer", wide, norm=norm)
    if dtype == T.FLOAT:
        replaced = {"imputed_value_floats": [9.0, 8.0, 7.0, 6.0]}
        many.add("Imputer", wide, replaced_value_float=float("nan"), **replaced)
        many.add("Imputer", wide, replaced_value_float=0.5, imputed_value_floats=[3.0])
        keys = {"keys_floats": [0.5, -1.0, 0.0]}
        many.add("LabelEncoder", wide, values_floats=[1.0, 2.0, 3.0], default_float=9.0, **keys)
    else:
        many.add("OneHotEncoder", [(T.FLOAT, [4, 3])], cats_int64s=[-1, 0, 2], zeros=1)
    if dtype == T.INT64:
        keys = {"keys_int64s": [-1, 0, 2]}
        many.add("LabelEncoder", [(T.INT64, [4])], values_int64s=[10, 20, 30], **keys)
        many.add("LabelEncoder", wide, values_floats=[0.5, 1.5, 2.5], default_float=-7.0, **keys)
    many.save()


def other_operators():
    binarizer = Many("ml-binarizer", 4)
    binarizer.add("Binarizer", [(T.FLOAT, [4])], threshold=0.5)
    binarizer.save()
    graph(
        "ml-extract",
        [helper.make_node("ArrayFeatureExtractor", ["x", "places"], ["y"], domain=ML)],
        [value("x", T.FLOAT, ["batch", 4]), value("places", T.INT64, ["picks"])],
        [value("y", T.FLOAT, ["batch", "picks"])],
    )


# --- scikit-learn ----------------------------------------------------------


def tensor(name, array):
    kind = {"f": "FP32", "i": "INT64"}[array.dtype.kind]
    flat = [None if x != x else x for x in array.ravel().tolist()]
    return {"name": name, "datatype": kind, "shape": list(array.shape), "data": flat}


def export(name, estimator, rows, kind=FloatTensorType, outputs=("predict", "predict_proba"),
           tolerance=TOLERANCE, maps=False):
    """Converts a fitted estimator, checks it in ONNX Runtime, writes it with its predictions. With
    `maps`, its probabilities are a sequence of maps, as the converter makes them by default."""
    zipmap = {id(estimator): {"zipmap": False}} if is_classifier(estimator) and not maps else None
    types = [("x", kind([None, rows.shape[1]]))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = convert_sklearn(estimator, name, types, target_opset=OPSET, options=zipmap)
    save(f"sklearn-{name}", model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    path = folder / f"sklearn-{name}.onnx"
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    found = session.run(None, {"x": rows})
    if maps:
        found[1] = np.array([list(row.values()) for row in found[1]], np.float32)
    expected = []
    for output, method, array in zip(session.get_outputs(), outputs, found):
        own = np.asarray(getattr(estimator, method)(rows)).astype(array.dtype).reshape(array.shape)
        if (np.abs(array - own) > tolerance * np.maximum(1, np.abs(own))).any():
            sys.exit(f"{name}: ONNX Runtime does not agree with scikit-learn")
        expected.append(tensor(output.name, own))
    examples = {
        "source": f"scikit-learn's own predictions for rows held out of training; {name}",
        "tolerance": tolerance,
        "inputs": [tensor("x", rows)],
        "outputs": expected,
    }
    (folder / f"sklearn-{name}.json").write_text(json.dumps(examples) + "\n", encoding="utf-8")


def scikit_learn():
    def split(load, columns):
        data = load(return_X_y=True)
        order = np.random.default_rng(SEED).permutation(len(data[0]))
        # Rounded, so that no threshold of a tree lies between a float and its double.
        x, y = data[0][order][:, columns].astype(np.float32).round(2), data[1][order]
        return x[ROWS:], y[ROWS:], x[:ROWS]

    def fit(name, estimator, data, **options):
        export(name, estimator.fit(*data[:2]), data[2], **options)

    two = split(load_breast_cancer, slice(0, 6))
    three = split(load_iris, slice(0, 4))
    score = split(load_diabetes, slice(0, 6))
    small = {"random_state": 0}
    fit("logistic", make_pipeline(StandardScaler(), LogisticRegression()), three)
    fit("maps", make_pipeline(StandardScaler(), LogisticRegression()), three, maps=True)
    fit("forest", RandomForestClassifier(8, max_depth=3, **small), two)
    fit("forest-of-three", RandomForestClassifier(8, max_depth=3, **small), three)
    fit("tree", DecisionTreeClassifier(max_depth=3, **small), three)
    fit("boosting", GradientBoostingClassifier(n_estimators=8, **small), three)
    fit("mlp", make_pipeline(MaxAbsScaler(), MLPClassifier([6], max_iter=3000, **small)), three)
    fit("bayes", GaussianNB(), three)
    fit("svc", SVC(**small), three, outputs=("predict", "decision_function"))
    # Distances as the root of a difference of squares lose digits.
    far = {"outputs": ("predict", "transform"), "tolerance": 1e-3}
    fit("kmeans", KMeans(3, n_init=1, **small), three, **far)
    fit("normal", make_pipeline(Normalizer("l2"), LogisticRegression()), three)
    fit("binary", make_pipeline(Binarizer(threshold=3), LogisticRegression()), three)
    only = {"outputs": ("predict",)}
    fit("forest-regression", RandomForestRegressor(6, max_depth=3, **small), score, **only)
    both = (score[0], np.stack([score[1], score[1] ** 0.5], axis=1), score[2])
    fit("linear", LinearRegression(), both, **only)

    # One number in five is missing.
    missing = [array.copy() for array in (two[0], two[2])]
    for array in missing:
        array[np.random.default_rng(SEED).random(array.shape) < 0.2] = np.nan
    holes = (missing[0], two[1], missing[1])
    fit("imputed", make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()), holes)
    words = (two[0][:, :2].astype(np.int64) % 5, two[1], two[2][:, :2].astype(np.int64) % 5)
    coded = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression())
    fit("coded", coded, words, kind=Int64TensorType)


def main():
    global folder
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else folder
    folder.mkdir(parents=True, exist_ok=True)
    identities()
    shapes()
    recurrent()
    refusals()
    quantised()
    tree_operators("ml-trees", T.FLOAT, TRANSFORMS)
    tree_operators("ml-trees-int64", T.INT64, TRANSFORMS[:1])
    tree_operators("ml-trees-double", T.DOUBLE, TRANSFORMS[:1])
    row_operators("ml-rows", T.FLOAT)
    row_operators("ml-rows-int64", T.INT64)
    row_operators("ml-rows-double", T.DOUBLE)
    other_operators()
    scikit_learn()


if __name__ == "__main__":
    main()
