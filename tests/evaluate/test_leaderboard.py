"""The leaderboard: the numbers of `measure`, part by part; what fails, goes on, and is resumed."""

import gc
import os
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

import pellucid as pl
from pellucid.baseline import Baseline
from pellucid.errors import FileError, InputError, ModelError, UnknownNameError
from pellucid.evaluate.complexity import EffectiveFeatures
from pellucid.evaluate.leaderboard import leaderboard
from pellucid.evaluate.leaderboard.board import Leaderboard, Standing, told_apart
from pellucid.evaluate.leaderboard.pieces import merged
from pellucid.evaluate.measure import measure
from pellucid.evaluate.measurement import Measurement
from pellucid.evaluate.metric import Found, Metric
from pellucid.evaluate.random_ranking import RandomRanking
from pellucid.method import Attribution, Method
from pellucid.run.samples import Samples

ROWS = 11


@dataclass(frozen=True, kw_only=True)
class Slope(Metric):
    """The correlation of the map with the gradient; it may fail for a method, or for all."""

    fails_for: str = ""
    fails: bool = False

    name: ClassVar[str] = "slope"
    answers: ClassVar[str] = "Is the map that of the gradient?"

    def judge(self, trial):
        if self.fails or any(each.method.name == self.fails_for for each in trial.rivals):
            raise RuntimeError("it is out of order")
        gradient = trial.case.gradient[0].flatten(1)
        return [
            Found(values=torch.cosine_similarity(each.values.flatten(1).double(), gradient))
            for each in trial.rivals
        ]


@dataclass(frozen=True, kw_only=True)
class Inside(Metric):
    """How much of the map is inside of the mask, and whether the label is that of the target."""

    name: ClassVar[str] = "inside"
    needs: ClassVar[frozenset[str]] = frozenset({"masks", "labels"})

    def judge(self, trial):
        wrong = torch.tensor(trial.case.outcome.target.classes) != trial.labels
        inside = [(each.values.abs() * trial.masks).flatten(1).sum(1) for each in trial.rivals]
        return [Found(values=each.double() - 100 * wrong) for each in inside]


@dataclass(frozen=True, kw_only=True)
class Removed(Metric):
    """The score without the first player: of a baseline and players that each sample may have."""

    features: object = None
    baseline: object = 0.0

    name: ClassVar[str] = "removed"

    def judge(self, trial):
        game = trial.game(self.features, self.baseline)
        there = torch.ones(len(trial), 1, game.players.count, dtype=torch.bool)
        there[:, :, 0] = False
        values = game.values(there)[:, 0]
        return [Found(values=values) for _ in trial.rivals]


@dataclass(frozen=True, kw_only=True)
class Late(Method):
    """Fails on samples whose first feature is large; says nothing of those where it is small."""

    name: ClassVar[str] = "late"
    agnostic: ClassVar[bool] = True

    def attribute(self, case):
        (x,) = case.inputs.leaves
        if (x[:, 0] > 2.5).any():
            raise ValueError("a sample that it does not like")
        return Attribution(values=[torch.where(x[:, :1] < -1, torch.ones_like(x), x)])


def model_of(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)).double().eval()


@pytest.fixture
def model():
    return model_of()


@pytest.fixture
def data():
    return torch.randn(ROWS, 5, generator=torch.Generator().manual_seed(1)).double()


METHODS = ["saliency", "gradient_x_input", pl.IntegratedGradients(steps=8), pl.Occlusion(window=2)]
METRICS = [Slope(), EffectiveFeatures()]


def values_of(board):
    return {
        (each.title, metric): found.values
        for each in board.standings
        for metric, found in each.measurements.items()
    }


def same(one, other):
    first, second = values_of(one), values_of(other)
    assert first.keys() == second.keys()
    for key in first:
        torch.testing.assert_close(first[key], second[key], equal_nan=True, msg=str(key))


@pytest.mark.parametrize("chunk", [1, 4, ROWS, 50])
def test_numbers_are_those_of_measure_whatever_the_parts(model, data, chunk):
    board = leaderboard(model, data, METHODS, METRICS, chunk=chunk, batch_size=3)
    maps = pl.compare(model, data, [*METHODS, RandomRanking()])
    wanted = measure(model, maps, METRICS)
    assert [each.title for each in board.standings][-1] == "random"
    assert list(board.metrics) == ["slope", "effective_features"]
    found = [each for standing in board.standings for each in standing.measurements.values()]
    assert len(found) == len(wanted) == 10
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.values, other.values)
    assert board.samples == ROWS


def test_the_order_of_samples_does_not_matter(model, data):
    one = leaderboard(model, data, METHODS, METRICS, chunk=4)
    other = leaderboard(model, data.flip(0), METHODS, METRICS, chunk=4)
    for key, found in values_of(one).items():
        torch.testing.assert_close(found, values_of(other)[key].flip(0))


def test_methods_share_a_recording_and_rivals_a_trial(model, data):
    board = leaderboard(model, data, ["saliency", "lrp", "gradient_x_input"], METRICS)
    alone = leaderboard(model, data, ["saliency"], METRICS)
    forward = sum(each.evaluations.forward for each in board.standings)
    assert forward == sum(each.evaluations.forward for each in alone.standings) == ROWS
    judged = [each.measurements["slope"].evaluations for each in board.standings]
    assert sum(each.backward for each in judged) == ROWS


def test_the_random_ranking_knows_nothing_of_the_model(model, data):
    one = leaderboard(model, data, ["saliency"], [EffectiveFeatures()])
    other = leaderboard(model_of(3), data, ["lrp"], [EffectiveFeatures()], target=1)
    torch.testing.assert_close(
        one.measured()["random"].values, other.measured()["random"].values, rtol=0, atol=0
    )
    again = leaderboard(model, data, ["saliency"], [EffectiveFeatures()], seed=1)
    assert not torch.equal(one.measured()["random"].values, again.measured()["random"].values)


@dataclass(frozen=True, kw_only=True)
class ByPlace(RandomRanking):
    """A mutant: ranks by the place of a sample in its batch."""

    def attribute(self, case):
        drawn = [torch.rand(5, generator=torch.Generator().manual_seed(int(k))) for k in case.rows]
        return Attribution(values=[torch.stack(drawn).to(case.inputs.leaves[0])])


@pytest.mark.parametrize(("ranking", "holds"), [(RandomRanking(), True), (ByPlace(), False)])
def test_a_random_ranking_goes_with_its_sample(model, data, ranking, holds):
    plain = ranking(model, data).values
    moved = ranking(model, data[3:]).values
    assert torch.equal(plain[3:], moved) == holds


def test_random_rankings_are_even():
    """Each place is the first as often as any other, over seeds and over samples."""
    x = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
    first = RandomRanking()(nn.Linear(4, 2), x).values.argmax(1)
    assert first.bincount(minlength=4).float().sub(100).abs().max() < 30
    found = [RandomRanking(seed=s)(nn.Linear(4, 2), x[:1]).values.argmax() for s in range(200)]
    assert torch.stack(found).bincount(minlength=4).float().sub(50).abs().max() < 25


def test_only_one_part_is_held(model, data):
    alive, most = [], []

    def read(start, stop):
        gc.collect()
        most.append(sum(each() is not None for each in alive))
        part = data[start:stop].clone()
        alive.append(weakref.ref(part))
        return part

    samples = Samples(rows=ROWS, read=read, mark="mine")
    board = leaderboard(model, samples, METHODS, METRICS, chunk=3)
    assert most == [0, 0, 0, 0]
    same(board, leaderboard(model, data, METHODS, METRICS, chunk=3))


# What fails


def test_a_method_that_fails_is_a_row_and_the_others_go_on(model, data):
    data[6, 0] = 3.0
    board = leaderboard(model, data, ["saliency", Late(), "lrp"], METRICS, chunk=3)
    same_without = leaderboard(model, data, ["saliency", "lrp"], METRICS, chunk=3)
    late = board.standings[1]
    assert late.failure == "ValueError: a sample that it does not like"
    assert late.measurements == {}
    assert board.failures == [("late", "", late.failure)]
    for key, found in values_of(same_without).items():
        torch.testing.assert_close(values_of(board)[key], found)
    assert "late: ValueError" in repr(board)
    frame = board.to_frame()
    assert frame[frame.method == "late"]["failure"].tolist() == [late.failure] * 2
    assert frame[frame.method == "late"]["mean"].isna().all()


def test_a_method_that_failed_is_asked_no_more(model, data, monkeypatch):
    asked = []
    plain = Late.attribute
    monkeypatch.setattr(Late, "attribute", lambda self, case: asked.append(1) or plain(self, case))
    data[1, 0] = 3.0
    leaderboard(model, data, ["saliency", Late()], METRICS, chunk=3)
    assert len(asked) == 2  # with the others, and once more alone


def test_a_metric_that_fails_is_reported_and_the_others_go_on(model, data):
    board = leaderboard(model, data, METHODS, [Slope(fails=True), EffectiveFeatures()], chunk=4)
    assert {metric for _, metric, _ in board.failures} == {"slope"}
    assert len(board.failures) == 5
    assert board.table("slope") == []
    assert len(board.table("effective_features")) == 5
    assert "no method could be judged" in board.verdicts[0]


def test_a_metric_that_fails_for_one_method(model, data):
    judges = [Slope(fails_for="gradient_x_input"), EffectiveFeatures()]
    board = leaderboard(model, data, METHODS, judges, chunk=4)
    assert board.failures == [("gradient_x_input", "slope", "RuntimeError: it is out of order")]
    wanted = leaderboard(model, data, METHODS, METRICS)
    for key, found in values_of(board).items():
        torch.testing.assert_close(found, values_of(wanted)[key])
    assert len(values_of(board)) == 9


def test_maps_that_are_not_finite_are_a_failure(model, data):
    @dataclass(frozen=True, kw_only=True)
    class Broken(Method):
        name: ClassVar[str] = "broken"

        def attribute(self, case):
            return Attribution(values=[case.inputs.leaves[0] * torch.nan])

    board = leaderboard(model, data, ["saliency", Broken()], METRICS)
    assert [(m, k) for m, k, _ in board.failures] == [
        ("broken", "slope"),
        ("broken", "effective_features"),
    ]
    assert "must be finite" in board.failures[0][2]
    assert len(values_of(board)) == 4


def test_maps_that_say_nothing_are_counted(model, data):
    data[:, 0] = torch.linspace(-3, 2, ROWS).double()
    few = int((data[:, 0] < -1).sum())
    board = leaderboard(model, data, ["saliency", Late()], METRICS, chunk=4)
    note = f"{few} of {ROWS} samples have a map that is the same everywhere, which ranks nothing."
    assert board.standings[1].notes == (note,)
    assert board.standings[0].notes == ()


def test_what_is_wrong_for_all_is_an_error(model, data):
    with pytest.raises(ModelError, match=r"At least one metric must be able to judge one method; "
                       r"got RuntimeError: it is out of order\.$"):  # fmt: skip
        leaderboard(model, data, METHODS, [Slope(fails=True)])
    with pytest.raises(ModelError, match=r"float64\[3, 4\]"):
        leaderboard(model, data[:, :4], METHODS, METRICS, chunk=3)


# A folder


class Watched(nn.Module):
    """Counts its calls outside of itself; at one of them it stops as if a key was pressed."""

    def __init__(self, model, calls, last=0):
        super().__init__()
        self.model, self.last = model, last
        self.count = calls.append

    def forward(self, x):
        self.count(len(x))
        if self.count.__self__ and len(self.count.__self__) == self.last:
            raise KeyboardInterrupt
        return self.model(x)


@pytest.mark.parametrize("stop", [1, 5, 12, 23])
def test_a_run_goes_on_where_it_was(model, data, tmp_path, stop):
    def ask(calls, last=0, folder=None):
        return leaderboard(
            Watched(model, calls, last), data, METHODS, METRICS, chunk=2, folder=folder
        )

    whole, interrupted, resumed, idle = [], [], [], []
    plain = ask(whole)
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        ask(interrupted, stop, folder)
    done = len(list(folder.glob("samples-*")))
    each = len(whole) // 6
    assert done == (stop - 1) // each
    found = ask(resumed, folder=folder)
    same(found, plain)
    assert len(resumed) == len(whole) - done * each  # nothing that was done is repeated
    again = ask(idle, folder=folder)
    assert idle == []
    same(again, plain)
    assert again.standings[0].evaluations == found.standings[0].evaluations
    assert repr(again) == repr(found)


def test_failures_are_kept(model, data, tmp_path):
    data[1, 0] = 3.0
    ask = {"chunk": 3, "folder": tmp_path}
    one = leaderboard(model, data, ["saliency", Late()], METRICS, **ask)
    for file in sorted(tmp_path.glob("samples-*"))[2:]:
        file.unlink()
    other = leaderboard(model, data, ["saliency", Late()], METRICS, **ask)
    assert one.failures == other.failures != []
    same(one, other)


CODE = """
import sys, time, torch
sys.path.insert(0, {root!r})
from tests.evaluate.test_leaderboard import METHODS, METRICS, leaderboard, model_of

class Slow(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.model = model_of()
    def forward(self, x):
        time.sleep(0.01)
        return self.model(x)

if __name__ == "__main__":
    data = torch.randn(11, 5, generator=torch.Generator().manual_seed(1)).double()
    leaderboard(Slow(), data, METHODS, METRICS, chunk=1, folder={folder!r})
"""


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on(model, data, tmp_path):
    """The process ends without a chance to clean up; what it wrote is whole."""
    folder = tmp_path / "run"
    code = CODE.format(root=os.getcwd(), folder=str(folder))
    for parts in (2, 5):
        process = subprocess.Popen([sys.executable, "-c", code])
        end = time.monotonic() + 60
        while len(list(folder.glob("samples-*"))) < parts and time.monotonic() < end:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    done = len(list(folder.glob("samples-*")))
    assert 5 <= done < ROWS
    names: dict[str, object] = {"__name__": "again"}
    exec(code, names)
    resumed = leaderboard(names["Slow"](), data, METHODS, METRICS, chunk=1, folder=folder)
    same(resumed, leaderboard(model, data, METHODS, METRICS))


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"methods": ["saliency"]}, "methods"),
        ({"methods": [pl.Saliency(reduce="squared"), "lrp"]}, "options of methods"),
        (
            {"metrics": [EffectiveFeatures(features=pl.Features.elements())]},
            "options of metrics",
        ),
        ({"metrics": METRICS}, "metrics"),
        ({"model": model_of(1)}, "learned"),
        ({"data": torch.ones(ROWS, 5).double()}, "data"),
        ({"target": 1}, "target"),
        ({"labels": torch.zeros(ROWS).long()}, "labels"),
        ({"seed": 1}, "options of methods"),
        ({"chunk": 4}, "chunk"),
    ],
)
def test_a_run_goes_on_only_with_its_own_settings(model, data, tmp_path, changed, name):
    asked = {
        "model": model,
        "data": data,
        "methods": ["saliency", "lrp"],
        "metrics": [EffectiveFeatures()],
        "folder": tmp_path,
    }
    leaderboard(**asked)
    leaderboard(**asked)
    with pytest.raises(InputError, match=f"a run of the same settings: '{name}'; got"):
        leaderboard(**asked | changed)


def test_names_of_another_run_can_be_read(model, data, tmp_path):
    leaderboard(model, data, ["saliency"], METRICS, folder=tmp_path)
    with pytest.raises(InputError, match=r"'metrics'; got \['slope'\], and not \['slope', 'effec"):
        leaderboard(model, data, ["saliency"], METRICS[:1], folder=tmp_path)


def fitted(rows):
    return LogisticRegression().fit(rows[:, :3], rows[:, 0] > rows[:, 3])


def enclosed(estimator):
    return lambda x: estimator.predict_proba(x)


@pytest.mark.parametrize(
    "form", [lambda each: each, lambda each: each.predict_proba, enclosed],
    ids=["estimator", "method", "function"],
)  # fmt: skip
def test_a_run_does_not_go_on_with_an_estimator_that_was_fitted_anew(data, tmp_path, form):
    """Its parameters are the same, and so are its name and its text."""
    rows = data.numpy()
    ask = {"folder": tmp_path, "methods": ["occlusion"], "metrics": [EffectiveFeatures()]}
    one = leaderboard(form(fitted(rows)), rows[:, :3], **ask)
    same(leaderboard(form(fitted(rows)), rows[:, :3], **ask), one)
    with pytest.raises(InputError, match="a run of the same settings: 'learned'"):
        leaderboard(form(fitted(rows + np.eye(5)[3])), rows[:, :3], **ask)


def test_a_data_set_is_read_by_samples(model, data):
    dataset = torch.utils.data.TensorDataset(data, torch.zeros(ROWS))
    for each in (dataset, torch.utils.data.DataLoader(dataset)):
        with pytest.raises(InputError, match=r"`data` must be tensors, .*or Samples; got .*\. "
                           r"Samples\(rows=len\(dataset\), "):  # fmt: skip
            leaderboard(model, each, ["saliency"], METRICS)
    samples = Samples(rows=len(dataset), mark="a name", read=lambda start, stop: torch.stack(
        [dataset[k][0] for k in range(start, stop)]))  # fmt: skip
    same(leaderboard(model, samples, METHODS, METRICS), leaderboard(model, data, METHODS, METRICS))


def test_a_truth_brings_its_masks_and_labels():
    truth = pl.evaluate.ground_truth.shapes(n=12, seed=0)
    model = truth.network().eval()
    metrics = ["relevance_mass"]
    found = leaderboard(model, truth, ["saliency"], metrics)
    wanted = leaderboard(model, truth.inputs, ["saliency"], metrics, masks=truth.masks)
    same(found, wanted)
    other = leaderboard(model, truth, ["saliency"], metrics, masks=~truth.masks)
    assert other.measured()["saliency"].mean == pytest.approx(1 - found.measured()["saliency"].mean)


def test_a_damaged_part_is_named(model, data, tmp_path):
    leaderboard(model, data, ["saliency"], METRICS, folder=tmp_path)
    (file,) = tmp_path.glob("samples-*")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(FileError, match=r"samples-00000000\.safetensors.*after deleting this file"):
        leaderboard(model, data, ["saliency"], METRICS, folder=tmp_path)


# What each sample has of its own


def test_targets_masks_and_labels_go_with_their_samples(model, data):
    masks = torch.rand(ROWS, 5, generator=torch.Generator().manual_seed(2)) < 0.5
    labels = (torch.arange(ROWS) % 3).tolist()
    ask = {"target": labels, "masks": masks, "labels": labels}
    parts = leaderboard(model, data, ["saliency", "lrp"], [Inside()], chunk=4, **ask)
    whole = leaderboard(model, data, ["saliency", "lrp"], [Inside()], chunk=ROWS, **ask)
    same(parts, whole)
    tensors = {"target": torch.tensor(labels), "masks": masks.numpy(), "labels": np.array(labels)}
    same(parts, leaderboard(model, data, ["saliency", "lrp"], [Inside()], chunk=4, **tensors))
    assert (parts.measured()["saliency"].values > -50).all()
    swapped = leaderboard(
        model, data, ["saliency"], [Inside()], chunk=4, **ask | {"labels": labels[::-1]}
    )
    assert (swapped.measured()["saliency"].values < -50).any()


def test_baselines_and_players_of_each_sample(model, data):
    generator = torch.Generator().manual_seed(3)
    baseline = Baseline.per_sample(torch.randn(ROWS, 5, generator=generator).double())
    players = torch.stack([torch.randperm(5, generator=generator) for _ in range(ROWS)]) // 2
    methods = [
        pl.IntegratedGradients(baseline=baseline, steps=8),
        pl.Occlusion(features=players, baseline=baseline),
    ]
    metrics = [
        Removed(features=players, baseline=baseline),
        EffectiveFeatures(features=players),
    ]
    parts = leaderboard(model, data, methods, metrics, chunk=4)
    same(parts, leaderboard(model, data, methods, metrics, chunk=ROWS))
    wanted = measure(model, pl.compare(model, data, methods), metrics)
    torch.testing.assert_close(parts.measured("removed")["occlusion"].values, wanted[2].values)


def test_words_of_texts(model):
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.embed, self.head = nn.Embedding(20, 4), nn.Linear(4, 2)

        def forward(self, ids):
            return self.head(self.embed(ids).mean(1))

    ids = torch.randint(0, 20, (5, 3), generator=torch.Generator().manual_seed(0))
    words = pl.Features.words([["a", "##b", "c"]] * 2 + [["a", "b", "##c"]] * 3)
    metrics = [EffectiveFeatures(features=words), EffectiveFeatures()]
    parts = leaderboard(Reader().eval(), ids, ["gradient_x_input"], metrics, chunk=2)
    same(parts, leaderboard(Reader().eval(), ids, ["gradient_x_input"], metrics, chunk=5))


def counting(rows):
    """A model of any rows: numbers of a table, or lengths of texts."""
    if isinstance(rows, list):
        table = np.array([[len(text), text.count("a")] for text in rows], dtype=float)
    else:
        table = np.asarray(rows, dtype=float)
    return np.stack([table[:, 0] + 2 * table[:, 1], -table[:, 0]], axis=1)


@pytest.mark.parametrize(
    "data",
    [
        pd.DataFrame({"a": np.arange(5.0), "b": np.arange(5.0) ** 2}),
        np.arange(10.0).reshape(5, 2),
        ["a b", "a a c", "ba", "b b b", "c a"],
    ],
    ids=["frame", "array", "texts"],
)
def test_data_of_every_kind(data, tmp_path):
    ask = {"target": 0, "folder": tmp_path}
    parts = leaderboard(counting, data, ["occlusion"], [EffectiveFeatures()], chunk=2, **ask)
    maps = pl.compare(counting, data, ["occlusion"], target=0)
    (wanted,) = measure(counting, maps, EffectiveFeatures())
    torch.testing.assert_close(parts.measured()["occlusion"].values, wanted.values, equal_nan=True)
    other = [*data[:-1], "new"] if isinstance(data, list) else data + 1
    with pytest.raises(InputError, match="settings: 'data'"):
        leaderboard(counting, other, ["occlusion"], [EffectiveFeatures()], chunk=2, **ask)


def test_inputs_in_a_structure_and_on_another_axis(model):
    def both(x, more):
        return model(x + more["y"].T)

    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(*shape, generator=generator).double() for shape in ((6, 5), (5, 6)))
    axes = (0, {"y": 1})
    found = leaderboard(both, (x, {"y": y}), ["saliency"], [EffectiveFeatures()], chunk=4,
                        batch_axis=axes)  # fmt: skip
    maps = pl.explain(both, (x, {"y": y}), "saliency", batch_axis=axes)
    (wanted,) = measure(both, maps, EffectiveFeatures())
    torch.testing.assert_close(found.measured()["saliency"].values, wanted.values)


# What it says


def test_the_best_is_on_top_and_told_apart(model):
    x = torch.randn(40, 5, generator=torch.Generator().manual_seed(4)).double()
    methods = ["gradient_x_input", "saliency"]
    board = leaderboard(model, x, methods, [Slope(), EffectiveFeatures()])
    rows = {row.title: row for row in board.table("slope")}
    assert board.table("slope")[0].title == "saliency"
    assert rows["saliency"].measurement.mean == pytest.approx(1)
    assert (rows["saliency"].against, rows["saliency"].groups) == ("better", "a")
    zero = board.measured("slope")["random"].values
    own = board.measured("slope")["saliency"].values
    assert rows["saliency"].gain == pytest.approx(float((own - zero).mean()))
    low, high = rows["saliency"].gain_interval
    assert low < rows["saliency"].gain < high
    assert "saliency is first with 1 " in board.verdicts[0]
    assert "ahead of all others" in board.verdicts[0]
    lower = [row.measurement.mean for row in board.table("effective_features")]
    assert lower == sorted(lower)


def board_of(*values):
    """A leaderboard of methods with these numbers for the samples, the last one by chance."""
    names = [*"abcdef"[: len(values) - 1], "random"]
    made = [
        Standing(
            title=name,
            method=RandomRanking(),
            measurements={"slope": Measurement(
                metric=Slope(), method=RandomRanking(), values=torch.as_tensor(each).double(),
            )},
            failures={},
        )
        for name, each in zip(names, values, strict=True)
    ]  # fmt: skip
    return Leaderboard(standings=tuple(made), metrics={"slope": Slope()}, samples=len(values[0]))


def test_who_is_not_told_apart_is_named_though_one_between_them_is():
    """`c` is the worst more often than `b`, but where it is better it is so by more."""
    base = np.random.default_rng(0).normal(size=40)
    wild = base + np.concatenate([np.linspace(1, 1.1, 12), -np.linspace(0.2, 0.9, 28)])
    board = board_of(base, base - 0.1, wild, base - 50)
    found = board.comparison()
    assert found.beats(0, 1)
    assert not found.differ(0, 2)
    assert found.order == [0, 1, 2, 3]
    assert board.verdicts[0].startswith("By slope (higher is better), a is first")
    assert "and is not told apart from c" in board.verdicts[0]
    rows = {row.title: row.groups for row in board.table()}
    assert set(rows["a"]) & set(rows["c"])
    assert not set(rows["a"]) & set(rows["b"])


def test_the_best_mean_may_have_the_worse_rank():
    """One sample carries the mean of `a`; `b` is better on all others."""
    base = np.linspace(0, 1, 40)
    high = base.copy()
    high[0] += 100
    board = board_of(high, base + np.where(np.arange(40) > 0, 0.1, 0), base - 50)
    assert board.verdicts[0].startswith("By slope (higher is better), a is first")
    assert "though b ranks better" in board.verdicts[0]
    assert "ahead of all others" not in board.verdicts[0]


def test_too_few_samples_are_said_to_be_too_few():
    some = np.linspace(0, 1, 5)
    board = board_of(some + 2, some + 1, some)
    assert "5 samples are too few to tell methods apart: at least 7 are needed" in board.verdicts[0]
    more = np.linspace(0, 1, 7)
    assert "ahead of all others" in board_of(more + 2, more + 1, more).verdicts[0]


def test_how_many_samples_a_mean_is_of():
    some = np.linspace(0, 1, 12)
    gaps = np.where(np.arange(12) < 5, np.nan, some)
    board = board_of(some, gaps, some - 3)
    said = "b is judged on 7 of 12 samples, on which the metric is defined."
    assert said in repr(board)
    assert repr(board).count("is judged on") == 1


def test_ranks_are_left_out_where_no_direction_is_better(model, data):
    @dataclass(frozen=True, kw_only=True)
    class Size(Slope):
        name: ClassVar[str] = "size"
        better: ClassVar = "neither"

    board = leaderboard(model, data, ["saliency"], [Size()])
    assert board.comparison() is None
    assert {row.groups for row in board.table()} == {""}
    assert board.verdicts[0].startswith("size only describes: from ")


def test_one_sample_has_no_interval(model, data):
    board = leaderboard(model, data[:1], ["saliency", "lrp"], METRICS)
    assert all(np.isnan(row.interval).all() for row in board.table())
    assert "too few samples" in board.verdicts[0]
    assert "nan" not in repr(board)


def test_titles_tell_options_apart(model, data):
    methods = [pl.Saliency(), pl.Saliency(reduce="squared"), "lrp"]
    metrics = [EffectiveFeatures(), EffectiveFeatures(features=pl.Features.elements())]
    board = leaderboard(model, data, methods, metrics)
    assert [each.title for each in board.standings] == [
        "saliency(reduce='signed')",
        "saliency(reduce='squared')",
        "lrp",
        "random",
    ]
    assert all(title.startswith("effective_features(features=") for title in board.metrics)
    assert told_apart([pl.Saliency(), pl.Saliency()]) == ["saliency", "saliency 2"]


def test_the_frame_has_all_numbers(model, data):
    board = leaderboard(model, data, METHODS, METRICS)
    frame = board.to_frame()
    assert len(frame) == 10
    assert set(frame.metric) == {"slope", "effective_features"}
    row = frame[(frame.metric == "slope") & (frame.method == "saliency")].iloc[0]
    assert row["mean"] == pytest.approx(board.measured("slope")["saliency"].mean)
    assert row.samples == ROWS
    assert frame.seconds.notna().all()


def test_notes_on_parts_are_those_of_all():
    parts = [(8, ["1 of 8 samples leak.", "Layer `a.2` at 0.5."]), (4, ["Layer `a.2` at 0.7."])]
    assert merged(parts) == ("1 of 12 samples leak.", "Layer `a.2` at 0.5 to 0.7.")
    assert merged([(2, ["Composite `x3` {was}."])] * 2) == ("Composite `x3` {was}.",)


def test_the_public_name_is_the_function():
    pl.evaluate.metrics()
    assert callable(pl.evaluate.leaderboard)
    assert pl.evaluate.Leaderboard.__name__ == "Leaderboard"


def test_the_model_is_left_as_it_was(model, data):
    before = {name: each.clone() for name, each in model.state_dict().items()}
    state = torch.get_rng_state()
    leaderboard(model, data, METHODS, METRICS, chunk=4)
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"methods": "lrp"}, InputError, r"`methods` must be a list of methods; got 'lrp'\. Pass "
         r"\['lrp'\]\."),
        ({"methods": []}, InputError, "`methods` must hold at least one method"),
        ({"methods": ["salency"]}, UnknownNameError, "Did you mean 'saliency'"),
        ({"metrics": []}, InputError, "`metrics` must hold at least one metric"),
        ({"metrics": [Inside()]}, InputError, "inside must have `labels`; got none"),
        ({"labels": [0, 1]}, InputError, "`labels` must have one entry for each of the 11 samples"),
        ({"masks": torch.ones(3, 5)}, InputError, "`masks` must have one entry for each of the 11"),
        ({"target": [0, 1]}, InputError, "`target` must have one entry for each of the 11 samples"),
        ({"chunk": 0}, InputError, "`chunk` must be a whole number, at least 1; got 0"),
        ({"batch_size": 0}, InputError, "`batch_size` must be"),
        ({"folder": 3}, InputError, "`folder` must be a path; got 3"),
        ({"data": []}, InputError, "`inputs` must be a tensor"),
        ({"data": np.zeros((0, 5))}, InputError, "`data` must have at least one row"),
        ({"seed": 0.5}, InputError, "`seed` must be a whole number"),
    ],
)  # fmt: skip
def test_messages(model, data, changed, error, message):
    asked = {"model": model, "data": data, "methods": ["saliency"], "metrics": [Slope()]}
    with pytest.raises(error, match=message):
        leaderboard(**asked | changed)


def test_an_unknown_metric_of_a_board(model, data):
    board = leaderboard(model, data, ["saliency"], METRICS)
    with pytest.raises(UnknownNameError, match=r"A metric of this leaderboard .*'slop'.*'slope'\?"):
        board.table("slop")
