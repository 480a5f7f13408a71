"""Columns that transformers of scikit-learn make of one raw column are one player."""

import pandas as pd
import pytest
import torch
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError
from pellucid.features import Features
from pellucid.features.pipeline import groups_of
from pellucid.structure import Inputs

FRAME = pd.DataFrame(
    {
        "age": [20.0, 31.0, None, 55.0, 38.0, 41.0],
        "town": ["Ulm", "Bonn", "Ulm", "Kiel", "Bonn", "Ulm"],
        "town_b": ["x", "y", "x", "x", "y", "y"],
        "fare": [1.0, 2.0, 5.0, 4.0, 3.0, 6.0],
    }
)
LABELS = [0, 1, 0, 1, 1, 0]


def test_one_hot_groups_of_a_column_transformer():
    fitted = ColumnTransformer(
        [
            ("words", OneHotEncoder(), ["town", "town_b"]),
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["age"]),
        ],
        remainder="passthrough",
    ).fit(FRAME)
    assert groups_of(fitted) == {"town": [0, 1, 2], "town_b": [3, 4], "age": [5], "fare": [6]}
    encoded = torch.from_numpy(fitted.transform(FRAME))
    players = Features.of_pipeline(fitted).players(Inputs.of(encoded))
    assert players.labels[0].tolist() == [[0, 0, 0, 1, 1, 2, 3]]
    assert players.names == (("town", "town_b", "age", "fare"),)


def test_the_model_at_the_end_of_a_pipeline_is_passed_over():
    columns = ColumnTransformer([("o", OneHotEncoder(drop="first"), ["town"])], remainder="drop")
    fitted = Pipeline([("columns", columns), ("model", LogisticRegression())]).fit(FRAME, LABELS)
    assert groups_of(fitted) == {"town": [0, 1]}


def test_categories_that_are_dropped_or_rare_are_not_counted():
    data = FRAME[["town", "town_b"]]
    assert groups_of(OneHotEncoder(drop="if_binary").fit(data)) == {
        "town": [0, 1, 2],
        "town_b": [3],
    }
    assert groups_of(OneHotEncoder(min_frequency=2).fit(data)) == {
        "town": [0, 1, 2],  # Ulm, Bonn, and what is rare
        "town_b": [3, 4],
    }
    combined = OneHotEncoder(feature_name_combiner=lambda feature, category: f"{category}")
    assert groups_of(combined.fit(data)) == {"town": [0, 1, 2], "town_b": [3, 4]}


def test_columns_told_by_slice_mask_number_and_selector():
    for columns in (slice("town", "town_b"), slice(1, 3), [False, True, True, False], [1, -2]):
        fitted = ColumnTransformer([("o", OneHotEncoder(), columns)], remainder="drop").fit(FRAME)
        assert groups_of(fitted) == {"town": [0, 1, 2], "town_b": [3, 4]}
    numeric = make_column_selector(dtype_include="number")
    fitted = ColumnTransformer([("n", StandardScaler(), numeric)]).fit(FRAME)
    assert groups_of(fitted) == {"age": [0], "fare": [1]}


def test_an_imputer_that_says_what_was_missing():
    fitted = SimpleImputer(add_indicator=True).fit(FRAME[["fare", "age"]])
    assert groups_of(fitted) == {"fare": [0], "age": [1, 2]}


def test_bins_splits_and_choices_of_columns():
    data = FRAME[["fare"]].assign(nothing=0.0, more=[3.0, 1, 4, 1, 5, 9])
    binned = make_pipeline(
        VarianceThreshold(), KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf")
    )
    assert groups_of(binned.fit(data)) == {"fare": [0, 1, 2], "more": [3, 4, 5]}


def test_a_union_has_the_columns_of_its_parts_after_one_another():
    union = FeatureUnion([("same", "passthrough"), ("scaled", StandardScaler())])
    assert groups_of(union.fit(FRAME[["fare"]])) == {"fare": [0, 1]}


def test_columns_that_mix_raw_ones_join_them():
    data = FRAME[["fare"]].assign(b=[3.0, 1, 4, 1, 5, 9], c=[2.0, 7, 1, 8, 2, 8])
    mixed = ColumnTransformer([("pca", PCA(2), ["fare", "c"]), ("rest", "passthrough", ["b"])]).fit(
        data
    )
    assert groups_of(mixed) == {"fare, c": [0, 1], "b": [2]}
    products = PolynomialFeatures(interaction_only=True, include_bias=False).fit(data)
    assert groups_of(products) == {"fare, b, c": [0, 1, 2, 3, 4, 5]}


def test_the_words_of_a_text_column():
    fitted = ColumnTransformer(
        [("text", CountVectorizer(), "town"), ("rest", "passthrough", ["fare"])]
    ).fit(FRAME)
    assert groups_of(fitted) == {"town": [0, 1, 2], "fare": [3]}


def test_a_function_that_names_nothing():
    function = FunctionTransformer(lambda x: x * 2)
    inside = ColumnTransformer([("f", function, ["fare", "age"])]).fit(FRAME)
    assert groups_of(inside) == {"age, fare": [0, 1]}
    alone = make_pipeline(function, StandardScaler()).fit(FRAME[["fare"]])
    with pytest.raises(
        InputError, match=r"must name the columns that they make; got Function.*one"
    ):
        groups_of(alone)


def test_arrays_have_numbers_for_names():
    fitted = OneHotEncoder().fit(FRAME[["town", "town_b"]].to_numpy())
    assert groups_of(fitted) == {"0": [0, 1, 2], "1": [3, 4]}


@pytest.mark.parametrize(
    ("given", "found"),
    [(OneHotEncoder(), "one without fit"), (make_pipeline(PCA()), "one without fit"), (3, "3")],
)
def test_what_is_not_fitted_is_refused(given, found):
    with pytest.raises(InputError, match=rf"must be a fitted transformer.*; got {found}\..*fit\("):
        Features.of_pipeline(given)


def test_one_hot_groups_have_the_values_of_the_raw_columns():
    """The pipeline on raw columns and its model on encoded ones are the same game."""
    raw = FRAME.fillna(30.0)
    encoder = ColumnTransformer(
        [("words", OneHotEncoder(), ["town", "town_b"])], remainder=StandardScaler()
    )
    whole = make_pipeline(encoder, DecisionTreeClassifier(max_depth=3, random_state=0))
    whole.fit(raw, LABELS)
    outer = pl.explain(whole, raw[:3], "exact_shapley", baseline=raw, target=1)
    encoded, background = (torch.from_numpy(encoder.transform(each)) for each in (raw[:3], raw))
    model = whole[-1]
    inner = pl.explain(
        lambda x: torch.from_numpy(model.predict_proba(x.numpy())),
        encoded,
        "exact_shapley",
        baseline=background,
        features=Features.of_pipeline(whole),
        target=1,
    )
    assert inner.features.names == (("town", "town_b", "age", "fare"),)
    order = [list(raw).index(name) for name in inner.features.names[0]]
    assert_close(inner.players, outer.players[:, order])
    assert inner.players.abs().max() > 0.1
