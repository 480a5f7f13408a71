"""A method that drops each player once, and data sets and models of all kinds to try it on."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from pellucid.baseline import Baseline
from pellucid.case import Case
from pellucid.features import FeaturesLike
from pellucid.game import Game
from pellucid.method import Attribution, Method


@dataclass(frozen=True, kw_only=True)
class Drop(Method):
    """What the score loses when one player is absent: f(x) - v(all but the player)."""

    agnostic = True
    features: FeaturesLike = None
    baseline: Any = field(default_factory=Baseline)

    def __post_init__(self) -> None:
        object.__setattr__(self, "baseline", Baseline.of(self.baseline))

    @property
    def reads(self) -> frozenset[str]:
        return frozenset()

    def attribute(self, case: Case) -> Attribution:
        players = case.players(self.features)
        game = Game(case, players, case.background(self.baseline))
        without = game.values(~torch.eye(players.count, dtype=torch.bool)[None])
        values = case.outcome.score.double().unsqueeze(1) - without
        return Attribution.of_players(players, values * players.alive, case.inputs)


def people(rows: int = 60) -> tuple[pd.DataFrame, pd.Series]:
    """A table with a column of every type, with gaps, and a label."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 80, rows),
            "income": rng.normal(3, 1, rows).astype("float32"),
            "sex": rng.choice(["female", "male"], rows),
            "job": pd.Categorical(rng.choice(["clerk", "nurse"], rows), ["clerk", "nurse", "cook"]),
            "owner": rng.random(rows) > 0.5,
            "children": pd.array(rng.integers(0, 4, rows), dtype="Int64"),
            "town": pd.Series(rng.choice(["Ulm", "Bonn"], rows), dtype=object),
        }
    )
    label = np.where((frame["age"] > 45) ^ frame["owner"], "yes", "no")
    frame.loc[::7, "sex"] = None
    frame.loc[::11, "children"] = pd.NA
    return frame, pd.Series(label)


def pipeline(frame: pd.DataFrame, label: pd.Series) -> Pipeline:
    """A fitted pipeline on raw columns: numbers scaled, categories one-hot."""
    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), ["age", "income", "owner"]),
            ("words", OneHotEncoder(handle_unknown="ignore"), ["sex", "job", "town"]),
        ]
    )
    return make_pipeline(columns, LogisticRegression()).fit(frame, label)


def critic() -> Pipeline:
    """A pipeline of texts, which knows a few words."""
    texts = ["a good film", "a bad film", "good, good!", "bad: not a film", "so good", "so bad"]
    return make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, ["+", "-"] * 3)
