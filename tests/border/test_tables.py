"""Data frames and arrays: there and back, and values that plain loops over frames agree with."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from torch.testing import assert_close

import pellucid as pl
from pellucid.border.tables import encode_array, encode_frame, of_array, of_frames
from pellucid.errors import UnknownNameError
from pellucid.method import _REGISTRY
from tests.border.made import Drop, people, pipeline

FRAME, LABEL = people()
MODEL = pipeline(FRAME, LABEL)
ROWS = FRAME.iloc[[3, 7, 11]].reset_index(drop=True)


def by_loops(model, rows, background, classes) -> torch.Tensor:
    """What each column loses: one data frame for each row and column, all else as pandas does."""
    found = np.zeros((len(rows), rows.shape[1]))
    for i in range(len(rows)):
        own = model.predict_proba(rows.iloc[[i]])[0, classes[i]]
        for j, name in enumerate(rows.columns):
            mixed = pd.concat([rows.iloc[[i]]] * len(background), ignore_index=True)
            mixed[name] = background[name].to_numpy()
            found[i, j] = own - model.predict_proba(mixed)[:, classes[i]].mean()
    return torch.from_numpy(found)


def test_a_frame_comes_back_as_it_was():
    schema = of_frames([FRAME])
    table = encode_frame(schema, FRAME)
    assert table.dtype is torch.float64
    assert table.shape == FRAME.shape
    pd.testing.assert_frame_equal(schema.decode(table), FRAME)
    assert schema.names == tuple(FRAME.columns)
    assert schema.kinds[:4] == ("numeric", "numeric", "categorical", "categorical")
    assert schema.categories[2:5] == (
        ("female", "male", None),
        ("clerk", "nurse", "cook"),
        (False, True),
    )


def test_what_is_fitted_on_raw_columns_gets_raw_columns():
    seen = []

    def model(frame: pd.DataFrame) -> np.ndarray:
        seen.append(frame)
        return MODEL.predict_proba(frame)

    found = Drop(baseline=FRAME)(model, ROWS, target=1, batch_size=37)
    assert all(list(each.columns) == list(FRAME.columns) for each in seen)
    assert all(each.dtypes.equals(FRAME.dtypes) for each in seen)
    assert max(map(len, seen)) == 37
    assert found.evaluations.forward == sum(map(len, seen))
    assert_close(found.players, by_loops(MODEL, ROWS, FRAME, [1, 1, 1]))


@pytest.mark.parametrize("size", ["auto", 1, 50])
def test_a_pipeline_of_mixed_columns(size):
    background = FRAME.iloc[:9]
    found = Drop(baseline=background)(MODEL, ROWS, target="yes", batch_size=size)
    assert_close(found.players, by_loops(MODEL, ROWS, background, [1, 1, 1]))
    assert_close(found.score, torch.from_numpy(MODEL.predict_proba(ROWS)[:, 1]))
    assert found.players.abs().max() > 0.01


def test_the_predicted_class_is_explained():
    found = Drop(baseline=FRAME.iloc[:5])(MODEL, ROWS)
    assert found.target.classes == tuple(MODEL.predict_proba(ROWS).argmax(1))
    assert_close(found.players, by_loops(MODEL, ROWS, FRAME.iloc[:5], found.target.classes))


def test_columns_of_the_background_in_another_order_are_the_same():
    shuffled = FRAME[FRAME.columns[::-1]]
    one, other = (Drop(baseline=b)(MODEL, ROWS, target=1) for b in (FRAME, shuffled))
    assert_close(one.players, other.players, rtol=0, atol=0)


def test_categories_that_only_the_background_has():
    rows, background = ROWS.assign(town="Ulm"), FRAME.assign(town="Bonn")
    found = Drop(baseline=background)(MODEL, rows, target=1)
    assert found.schema.categories[-1] == ("Bonn", "Ulm")
    assert_close(found.players, by_loops(MODEL, rows, background, [1, 1, 1]))


def test_names_say_what_a_sample_has():
    found = Drop(baseline=FRAME)(MODEL, ROWS, target=1)
    named = found.features.named(0)
    assert named[0] == f"age = {ROWS['age'][0]}"
    assert named[2] == f"sex = {ROWS['sex'][0]}"
    assert "sex = missing" in found.features.named(1)
    assert named[4] == f"owner = {ROWS['owner'][0]}"
    table = found.to_frame()
    assert table["feature"].tolist() == list(FRAME.columns) * 3
    assert table["given"][3] == ROWS["job"][0]
    assert_close(torch.tensor(table["value"]), found.values.flatten())
    assert set(found.by_player()["name"][:7]) == set(named)


def test_columns_of_numbers_have_plain_names():
    data, label = load_wine(return_X_y=True, as_frame=True)
    model = LogisticRegression(max_iter=5000).fit(data, label)
    found = Drop(baseline=data)(model, data.iloc[[0, 100]], target=0)
    assert found.features.names == (tuple(data.columns),)
    assert found.to_frame()["given"][0] == "14.23"


def test_an_explanation_of_a_table_is_stored_with_its_columns(tmp_path, monkeypatch):
    monkeypatch.setitem(_REGISTRY.known, "drop", Drop)
    monkeypatch.setattr(Drop, "name", "drop")
    found = Drop(baseline=FRAME.iloc[:2])(MODEL, ROWS, target=1)
    again = pl.load(found.save(tmp_path / "e.safetensors"))
    assert again == found
    assert again.schema == found.schema
    pd.testing.assert_frame_equal(again.schema.decode(again.inputs), ROWS)
    pd.testing.assert_frame_equal(
        again[1].schema.decode(again[1].inputs), ROWS.iloc[[1]].reset_index(drop=True)
    )


@pytest.mark.parametrize("load", [load_iris, load_breast_cancer, load_wine])
def test_frames_arrays_and_tensors_agree(load):
    data, label = load(return_X_y=True, as_frame=True)
    array = data.to_numpy()
    framed = LogisticRegression(max_iter=20000).fit(data, label)
    plain = LogisticRegression(max_iter=20000).fit(array, label)
    asked = {"target": 1, "batch_size": 64}
    one = Drop(baseline=data.iloc[:7])(framed, data.iloc[[2, 90]], **asked)
    two = Drop(baseline=array[:7])(plain, array[[2, 90]], **asked)
    three = Drop(baseline=torch.tensor(array[:7]))(plain, torch.tensor(array[[2, 90]]), **asked)
    assert_close(one.players, two.players)
    assert_close(two.players, three.players, rtol=0, atol=0)
    assert_close(one.players, by_loops(framed, data.iloc[[2, 90]], data.iloc[:7], [1, 1]))


def test_a_regressor_is_explained_at_its_number():
    data, label = load_diabetes(return_X_y=True, as_frame=True)
    model = RandomForestRegressor(5, random_state=0).fit(data, label)
    found = Drop(baseline=data.iloc[:3])(model, data.iloc[:2])
    assert_close(found.score, torch.from_numpy(model.predict(data.iloc[:2])))


def test_missing_numbers_reach_a_model_that_takes_them():
    data = FRAME[["age", "income"]].astype("float64")
    data.loc[::3, "age"] = np.nan
    model = HistGradientBoostingClassifier(max_iter=5).fit(data, LABEL)
    found = Drop(baseline=data)(model, data.iloc[:2], target="no")
    assert_close(found.players, by_loops(model, data.iloc[:2], data, [0, 0]))
    assert found.schema.given(found.inputs[0])[0] == "missing"


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool"])
def test_arrays_come_back_in_their_type(dtype):
    array = np.arange(12).reshape(3, 4).astype(dtype)
    schema = of_array(array, [], ())
    back = schema.decode(encode_array(schema, array))
    assert back.dtype == array.dtype
    assert (back == array).all()


def test_numbers_that_are_whole_no_more_stay_fractions():
    schema = of_frames([pd.DataFrame({"n": [1, 2], "m": [3, 4]})])
    frame = schema.decode(torch.tensor([[1.5, 3.0], [2.0, 4.0]], dtype=torch.float64))
    assert frame["n"].tolist() == [1.5, 2.0]
    assert frame["m"].dtype == "int64"


def test_arrays_of_strings_and_numbers():
    array = np.array([["a", 1.5], ["b", 2.0], ["a", 3.0]], dtype=object)
    schema = of_array(array, [], ())
    assert schema.kinds == ("categorical", "numeric")
    assert schema.decode(encode_array(schema, array)).tolist() == array.tolist()

    def model(rows: np.ndarray) -> np.ndarray:
        return np.array([row[1] * (2 if row[0] == "b" else 1) for row in rows], dtype=float)

    found = Drop(baseline=array[:1])(model, array[1:])
    assert_close(found.players, torch.tensor([[2.0, 1.0], [0.0, 1.5]], dtype=torch.float64))


def test_images_as_arrays():
    images = np.random.default_rng(0).random((2, 8, 8, 3))
    found = Drop(
        baseline=0.5, features=pl.Features.elements() if hasattr(pl, "Features") else None
    )(lambda x: x.reshape(len(x), -1).sum(1), images)
    total = found.players.sum(1)
    assert_close(total, torch.from_numpy(images.reshape(2, -1).sum(1) - 0.5 * 192))


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(-5, 5),
            st.one_of(st.none(), st.floats(-1e6, 1e6)),
            st.one_of(st.none(), st.sampled_from(["", "a", "b c", "ü"])),
            st.booleans(),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_any_frame_comes_back(rows):
    frame = pd.DataFrame(rows, columns=["n", "x", "s", "b"])
    frame = frame.astype({"n": "int64", "x": "float64", "s": "str", "b": "bool"})
    schema = of_frames([frame])
    pd.testing.assert_frame_equal(schema.decode(encode_frame(schema, frame)), frame)


def test_a_broken_code_would_be_noticed():
    """The tests above can fail: with two categories exchanged the frame is another."""
    schema = of_frames([FRAME])
    exchanged = (*schema.categories[:2], ("male", "female", None), *schema.categories[3:])
    wrong = replace(schema, categories=exchanged)
    assert not wrong.decode(encode_frame(schema, FRAME)).equals(FRAME)


def _lower(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.apply(lambda column: column.str.lower())


@pytest.mark.parametrize("outside", [False, True])
def test_categories_that_a_pipeline_renames_first_are_its_own_affair(outside):
    renamed = FunctionTransformer(_lower)
    inner = make_pipeline(OneHotEncoder()) if outside else make_pipeline(renamed, OneHotEncoder())
    columns = ColumnTransformer([("town", inner, ["town"])])
    before = [FunctionTransformer(lambda f: f.assign(town=f["town"].str.lower()))]
    steps = [*before * outside, columns, LogisticRegression()]
    model = make_pipeline(*steps).fit(FRAME, FRAME["age"] > 45)
    found = Drop(baseline=FRAME.iloc[:5])(model, ROWS, target=1)
    assert_close(found.players, by_loops(model, ROWS, FRAME.iloc[:5], [1, 1, 1]))


def test_an_imputer_before_an_encoder_keeps_the_categories_known():
    inner = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder())
    model = make_pipeline(ColumnTransformer([("town", inner, ["town"])]), LogisticRegression())
    model.fit(FRAME, FRAME["age"] > 45)
    strange = FRAME.iloc[:5].assign(town="Rome")
    with pytest.raises(UnknownNameError, match=r"^A category of column 'town' in `baseline` must"):
        Drop(baseline=strange)(model, ROWS)


def test_the_columns_of_a_table_are_occluded_one_by_one():
    table, label = load_breast_cancer(return_X_y=True, as_frame=True)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(table, label)
    rows, background = table.iloc[:2], table.iloc[100:107]
    found = pl.explain(model, rows, "occlusion", baseline=background)
    wanted = Drop(baseline=background)(model, rows)
    assert_close(found.players, wanted.players)
    assert found.evaluations.forward == 2 * (1 + 30 * 7)
    order = [*table.columns[::-1]]
    turned = pl.explain(lambda f: model.predict_proba(f[table.columns]), rows[order], "occlusion",
                        baseline=background)  # fmt: skip
    assert_close(turned.values.flip(1), found.values)
