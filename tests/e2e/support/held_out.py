"""The data sets behind the demo models, parted as in training (`models/training`): rows that a model
has seen, and rows that it has not.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.model_selection import train_test_split

from support.demo import MANIFESTS, example

SEED = 20240229  # As in models/training/common.py.


@dataclass(frozen=True)
class DataSet:
    """Rows of one demo model, in the order of its features."""

    model: str
    names: tuple[str, ...]
    trained: np.ndarray
    held_out: np.ndarray
    # What is true of the rows that were held out.
    truth: np.ndarray

    def column(self, name: str) -> int:
        return self.names.index(name)

    def sample(self, seed: int, count: int) -> np.ndarray:
        """So many of the held-out rows, drawn with replacement."""
        return np.random.default_rng(seed).choice(self.held_out, count)


def part(model: str, data, stratify) -> DataSet:
    features = data.data.astype(np.float32)
    trained, held_out, _, truth = train_test_split(
        features, data.target, test_size=0.25, stratify=stratify, random_state=SEED
    )
    names = tuple(feature["name"] for feature in MANIFESTS[model]["inputs"][0]["features"])
    # The examples are the first of the held-out rows: this is the split that the model was made on.
    examples = example(model).inputs[0].values
    assert np.array_equal(held_out[: len(examples)], examples), model
    return DataSet(model, names, trained, held_out, truth)


def diabetes() -> DataSet:
    return part("diabetes-progression", load_diabetes(scaled=False), None)


def breast_cancer() -> DataSet:
    data = load_breast_cancer()
    return part("breast-cancer", data, data.target)
