"""What it costs to write tensors as frames, arrays and texts, beside the models that read them.

    python bench/border.py

Each row is one kind of input: rows of a batch, the milliseconds of the model alone, and the part of
these that the way to the model and back takes. One thread.
"""

import functools
import os
import statistics

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import numpy as np
import pandas as pd
from measure import interleaved, ratios
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from pellucid.border import asked

ROWS, COLUMNS, ROUNDS = 1024, 12, 51


def numbers() -> pd.DataFrame:
    """Columns of numbers alone."""
    table = np.random.default_rng(0).normal(size=(ROWS, COLUMNS))
    return pd.DataFrame(table, columns=[f"c{i}" for i in range(COLUMNS)])


def mixed() -> pd.DataFrame:
    """Half of the columns are numbers, half are words."""
    rng, frame = np.random.default_rng(0), numbers()
    for name in frame.columns[::2]:
        frame[name] = rng.choice(["red", "green", "blue"], ROWS)
    return frame


def texts() -> list[str]:
    """Texts of forty words."""
    words = [f"word{i}" for i in range(500)]
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(words, 40)) for _ in range(ROWS)]


def rows() -> dict[str, tuple]:
    """A fitted model and inputs of each kind."""
    label = np.arange(ROWS) % 2
    plain, both, written = numbers(), mixed(), texts()
    columns = ColumnTransformer(
        [
            ("n", StandardScaler(), list(both.columns[1::2])),
            ("w", OneHotEncoder(), list(both.columns[::2])),
        ]
    )
    return {
        "array": (LogisticRegression().fit(plain.to_numpy(), label), plain.to_numpy()),
        "frame of numbers": (LogisticRegression().fit(plain, label), plain),
        "mixed frame": (make_pipeline(columns, LogisticRegression()).fit(both, label), both),
        "texts": (
            make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(written, label),
            written,
        ),
    }


def main() -> None:
    """Print one row for each kind of input."""
    print(f"{'input':<18} {'rows':>5} {'model ms':>9} {'own part':>9}")
    for name, (model, inputs) in rows().items():
        on = asked(model, inputs, [], [None], 0)
        (leaf,) = on.inputs.leaves
        jobs = {
            "model": functools.partial(model.predict_proba, inputs),
            "whole": functools.partial(on.model, leaf),
        }
        seconds = interleaved(jobs, ROUNDS)
        alone = statistics.median(seconds["model"])
        part, _ = ratios(seconds["whole"], seconds["model"])
        print(f"{name:<18} {ROWS:>5} {alone * 1e3:>9.2f} {part - 1:>9.1%}")


if __name__ == "__main__":
    main()
