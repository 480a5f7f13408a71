"""A run is killed anywhere, goes on, and neither loses nor repeats a training that was finished."""

import json
import multiprocessing
import os
import random
import signal
from dataclasses import replace

import pytest
import torch
from torch import nn

import pellucid as pl
from pellucid.errors import FileError, InputError
from pellucid.evaluate import Trainer, metrics, roar
from pellucid.run.described import described, fingerprint
from pellucid.run.folder import RunFolder, run_folder
from tests.evaluate.retraining import FEATURES, FIT, Fixed, Notes, linear, split

METHODS = ["gradient_x_input", "saliency"]
# The server that workers are forked from reads this file once, and with it what a run needs.
metrics(), pl.methods()

# One for each of two seeds, and for random and two methods at two fractions.
TRAININGS = 2 * (1 + 3 * 2)


def ask(folder, fit=FIT, **options):
    usual = {"percentages": [0.3, 0.5], "seeds": 2, "proxies": ["selectivity"], "progress": False}
    methods = options.pop("methods", METHODS)
    data = options.pop("data", None) or split(90)
    model = options.pop("model", linear)
    return roar(model, data, methods, fit=fit, folder=folder, **(usual | options))


def accuracies(found):
    """All that must be the same after an interruption."""
    return (
        [row[:5] for row in found.rows],
        [row[:5] for row in found.before],
        [row[:5] for row in found.leaks],
        found.proxies,
        found.notes,
    )


def finished(folder):
    """The trainings that a run has recorded."""
    file = folder / "results.jsonl"
    return file.read_text().splitlines() if file.exists() else []


SLOW = replace(FIT, epochs=1)


def _work(folder, log):
    """What a process does until it is killed."""
    torch.set_num_threads(1)
    ask(folder, Notes(log=log, inner=SLOW))


def _killed_after(more, worker, folder, draw):
    """Kill a process at a random moment after so many more trainings; whether it was alive."""
    wanted = len(finished(folder)) + more
    while worker.exitcode is None and more and len(finished(folder)) < wanted:
        worker.join(0.005)
    worker.join(draw.uniform(0.0, 0.1 if more else 2.0))
    alive = worker.exitcode is None
    if alive:
        os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    return alive


@pytest.mark.slow
def test_killed_at_ten_random_moments_it_ends_as_if_it_never_was(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.evaluate.test_retrain_folder", "torch._dynamo"])
    folder, draw, kills, moments = tmp_path / "run", random.Random(4), 0, list[int]()
    while kills < 10:
        log, before = tmp_path / f"log{len(moments)}", finished(folder)
        worker = context.Process(target=_work, args=(folder, log))
        worker.start()
        kills += _killed_after(draw.choice([0, 1, 1, 2]), worker, folder, draw)
        after = finished(folder)
        moments.append(len(after))
        assert after[: len(before)] == before, "a finished training was lost, or done again"
        # The one that was killed, and one more where the first model had not been kept yet.
        assert len(Notes(log=log).lines("start")) <= len(after) - len(before) + 1
        if len(after) == TRAININGS:  # begin again, elsewhere
            folder = tmp_path / f"run{kills}"
    before, last = finished(folder), Notes(log=tmp_path / "last", inner=SLOW)
    found = ask(folder, last)
    assert finished(folder)[: len(before)] == before
    assert len(last.lines("end")) == TRAININGS - len(before)
    assert accuracies(found) == accuracies(ask(tmp_path / "whole", replace(last, log=last.log)))
    assert len(found.rows) == TRAININGS
    assert len(set(moments)) > 4, "the kills were not at different moments"


class Stop(BaseException):
    """What a user does to a run that takes too long."""


@pytest.mark.parametrize("number", [0, 1, 5, 13])
def test_stopped_by_hand_it_trains_only_what_is_left(number, tmp_path):
    def stop(count):
        return Stop() if count == number else None

    fit = Notes(log=tmp_path / "log", inner=SLOW)
    with pytest.raises(Stop):
        ask(tmp_path / "run", replace(fit, fails=stop))
    assert len(finished(tmp_path / "run")) == number
    found = ask(tmp_path / "run", replace(fit, fails=stop))
    assert len(fit.lines("end")) == TRAININGS
    assert len(fit.lines("start")) == TRAININGS + 1
    again = ask(tmp_path / "run", replace(fit, fails=stop))
    assert len(fit.lines("start")) == TRAININGS + 1
    assert accuracies(again) == accuracies(found)


def test_a_run_that_forgets_is_found(tmp_path, monkeypatch):
    """Mutant: results are not written until the end."""
    monkeypatch.setattr(RunFolder, "write_rows", lambda self, name, rows: None)
    with pytest.raises(AssertionError):
        test_stopped_by_hand_it_trains_only_what_is_left(5, tmp_path)


def test_a_training_that_fails_is_a_row_and_is_tried_again_if_asked(tmp_path):
    def fail(count):
        return RuntimeError("out of luck") if count == 4 else None

    fit = Notes(log=tmp_path / "log", inner=SLOW, fails=fail)
    found = ask(tmp_path / "run", fit)
    assert [row.error for row in found.failures] == ["RuntimeError: out of luck"]
    assert len(found.rows) == TRAININGS
    assert "failed  saliency 50%: RuntimeError: out of luck" in repr(found)
    assert found.to_frame().query("error != ''").accuracy.isna().all()
    assert len(ask(tmp_path / "run", fit).failures) == 1
    assert len(fit.lines("start")) == TRAININGS
    assert not ask(tmp_path / "run", fit, retry=True).failures
    assert len(fit.lines("start")) == TRAININGS + 1


def test_what_was_removed_is_made_again(tmp_path):
    """As the error of a broken file says."""
    fit = Notes(log=tmp_path / "log", inner=SLOW)
    first, folder = ask(tmp_path / "run", fit), tmp_path / "run"
    whole = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    lines = (folder / "results.jsonl").read_text().splitlines(keepends=True)
    (folder / "results.jsonl").write_text("".join(lines[:5]))
    (folder / "maps" / "1.safetensors").write_bytes(b"12345678910")
    (folder / "before.jsonl").unlink()
    with pytest.raises(FileError, match=r"1\.safetensors' must hold .* Remove this file"):
        ask(folder, fit)
    (folder / "maps" / "1.safetensors").unlink()
    assert accuracies(ask(folder, fit)) == accuracies(first)
    kept = folder / "maps" / "1.safetensors"
    assert kept.read_bytes() == whole[kept]
    (folder / "first.safetensors").unlink()
    kept.unlink()
    assert accuracies(ask(folder, fit)) == accuracies(first)


def test_an_estimator_goes_on_too(tmp_path):
    from sklearn.linear_model import LogisticRegression

    data = tuple((x.numpy(), y.numpy()) for x, y in split(60))
    options = {"methods": {"kernel": pl.KernelSHAP(samples=30)}, "data": data, "proxies": []}
    first = ask(tmp_path / "run", None, model=LogisticRegression(), **options)
    rows = [json.loads(line) for line in finished(tmp_path / "run")]
    RunFolder(path=tmp_path / "run").write_rows("results.jsonl", rows[:3])
    (tmp_path / "run" / "maps.jsonl").unlink()
    assert not (tmp_path / "run" / "first.safetensors").exists()
    again = ask(tmp_path / "run", None, model=LogisticRegression(), **options)
    assert accuracies(again) == accuracies(first)


# Settings


def other_data():
    (x, y), test = split(90)
    changed = x.clone()
    changed[3, 2] += 1e-3
    return (changed, y), test


OTHER = {
    "percentages": (
        {"percentages": [0.3, 0.6]},
        r"'percentages'; got \[0\.3, 0\.6\], and not \[0\.3, 0\.5\]",
    ),
    "seeds": ({"seeds": 3}, r"'seeds'; got \[0, 1, 2\], and not \[0, 1\]"),
    "keep": ({"keep": True}, r"'protocol'; got 'keep and retrain', and not 'remove and retrain'"),
    "methods": ({"methods": ["saliency"]}, r"'methods'; got gradient_x_input: None, and not"),
    "an option": (
        {"methods": ["gradient_x_input", pl.Saliency(reduce="squared")]},
        r"'methods'; got saliency: .*'squared', and not 'signed'",
    ),
    "target": ({"target": "label"}, r"'target'; got 'label', and not 'predicted'"),
    "fill": ({"fill": 0.0}, r"'fill'; got "),
    "the trainer": ({"fit": replace(FIT, epochs=3)}, r"'fit'; got .*epochs: 3, and not 1"),
    "the model": (
        {"model": lambda: nn.Sequential(nn.Linear(FEATURES, 2))},
        r"'model'; got .*Sequential.*, and not 'Linear",
    ),
    "data": ({"data": other_data()}, r"'data'; got train: "),
    "proxies": ({"proxies": []}, r"'proxies'; got selectivity: None, and not"),
    "a leak": ({"leak": True}, r"'leak'; got True, and not False"),
}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "done"
    ask(folder, SLOW)
    return folder


@pytest.mark.parametrize("case", OTHER.values(), ids=OTHER)
def test_other_settings_in_the_same_folder_are_named(case, done):
    options, message = case
    must = r"^`folder` must hold a run of the same settings: "
    with pytest.raises(InputError, match=must + message):
        ask(done, **({"fit": SLOW} | options))


def test_the_same_settings_are_the_same(done):
    assert len(ask(str(done), SLOW).rows) == TRAININGS


# The folder


def test_one_run_at_a_time(tmp_path):
    with (
        run_folder(tmp_path / "run", {"a": 1}),
        pytest.raises(FileError, match=r"must not be in use by another run; got one that"),
        run_folder(tmp_path / "run", {"a": 1}),
    ):
        pass
    with run_folder(tmp_path / "run", {"a": 1}) as folder:
        assert folder.has("settings.json")


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    message = r"must be empty, or that of a run; got one with 'thesis\.tex' in it and no settings"
    with pytest.raises(FileError, match=message), run_folder(tmp_path, {}):
        pass
    assert [each.name for each in tmp_path.iterdir()] == ["thesis.tex"]
    with (
        pytest.raises(FileError, match=r"must be a folder that can be written to"),
        run_folder(tmp_path / "thesis.tex", {}),
    ):
        pass


def test_files_are_there_whole_or_not_at_all(tmp_path, monkeypatch):
    with run_folder(tmp_path / "run", {"a": 1}) as folder:
        folder.write_rows("rows.jsonl", [{"n": 1}])

        def full(source, place):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", full)
        with pytest.raises(FileError, match=r"must be a file that can be written; .*No space left"):
            folder.write_rows("rows.jsonl", [{"n": 1}, {"n": 2}])
        monkeypatch.undo()
        assert folder.rows("rows.jsonl") == [{"n": 1}]
        assert not list(folder.path.glob("*.part"))
        with pytest.raises(
            FileError, match=r"must be a file that can be written; .*the run goes on"
        ):
            folder.write("rows.jsonl/1.json", {})  # which would be in a folder, where a file is
        # What a killed process leaves is cleared away.
        (folder.path / ".1234.part").write_text("half")
    with run_folder(tmp_path / "run", {"a": 1}):
        assert not (tmp_path / "run" / ".1234.part").exists()


def test_what_is_broken_is_named(tmp_path):
    with run_folder(tmp_path / "run", {"a": 1}) as folder:
        (folder.path / "rows.jsonl").write_text('{"n": 1}\n{"n')
        with pytest.raises(
            FileError, match=r"rows\.jsonl' must hold what a run has written; got JSON"
        ):
            folder.rows("rows.jsonl")
        (folder.path / "x.safetensors").write_bytes(b"12345678910")
        with pytest.raises(FileError, match=r"x\.safetensors' must hold .* Remove this file"):
            folder.tensors("x.safetensors")


def test_nothing_is_pickled(done):
    kinds = {path.suffix for path in done.rglob("*") if path.is_file()}
    assert kinds == {".json", ".jsonl", ".safetensors", ""}
    settings = json.loads((done / "settings.json").read_text())
    assert settings["seeds"] == [0, 1]
    assert settings["data"]["train"] == [fingerprint(split(90)[0][0]), fingerprint(split(90)[0][1])]


def test_values_are_described_by_what_decides():
    x = torch.arange(4.0)
    assert fingerprint(x) == fingerprint(torch.arange(8.0)[::2] / 2)
    assert len({fingerprint(each) for each in (x, x.double(), x.reshape(2, 2), x + 1)}) == 4
    assert described(Fixed(values=(1.0, 2.0))) != described(Fixed(values=(1.0, 3.0)))
    assert described(Trainer(seed=1)) == described(Trainer(seed=1)) != described(Trainer())
    assert described(pl.Baseline.of(x)) != described(pl.Baseline.of(x + 1))
    assert described(split) == "tests.evaluate.retraining.split"
    assert described({"a": [nn.Linear(2, 3)]}) == {
        "a": ["Linear(in_features=2, out_features=3, bias=True)"]
    }


class Fitting:
    """A trainer of one's own, with an option, and what it notes as it runs."""

    def __init__(self, epochs):
        self.epochs, self.losses = epochs, []

    def fit(self, factory, data):
        return factory()


def enclosing(epochs):
    losses = []

    def fit(factory, data):
        losses.append(epochs)
        return factory()

    return fit


def test_options_that_are_held_or_enclosed_decide_and_notes_do_not():
    for made in (Fitting, lambda n: Fitting(n).fit, enclosing):
        assert described(made(3)) == described(made(3)) != described(made(4))
    noted = Fitting(3)
    noted.losses.append(1.0)
    assert described(noted) == described(Fitting(3))


def test_frames_count_by_their_content():
    import pandas as pd

    frames = [
        pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
        pd.DataFrame({"a": [1, 3], "b": ["x", "y"]}),
        pd.DataFrame({"a": [1, 2], "b": ["x", "z"]}),
        pd.DataFrame({"a": [1, 2], "c": ["x", "y"]}),
        pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}),
    ]
    kinds = [pl.KernelSHAP(baseline=frame) for frame in frames]
    assert len({json.dumps(described(each)) for each in kinds}) == 5
    assert described(frames[0]) == described(frames[0].copy())


def test_estimators_count_by_all_their_parameters_and_by_no_address():
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    def model(strength, steps=30):
        many = [FunctionTransformer(described) for _ in range(steps)]  # its text is cut short
        return make_pipeline(*many, LogisticRegression(C=strength))

    text = json.dumps(described(model(1.0)))
    assert "0x" not in text
    assert text == json.dumps(described(model(1.0))) != json.dumps(described(model(2.0)))
    assert "0x" not in described(nn.Sequential(Shown()))


class Shown(nn.Module):
    def extra_repr(self):
        return repr(object())


def test_a_trainer_with_other_options_is_not_mixed_in(tmp_path):
    ask(tmp_path / "run", enclosing(1), seeds=1)
    with pytest.raises(InputError, match=r"same settings: 'fit'; got .*epochs: 2, and not 1"):
        ask(tmp_path / "run", enclosing(2), seeds=1)
