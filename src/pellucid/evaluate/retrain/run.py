"""A run that goes on: what is in its folder is read, the rest is computed and put there."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from pellucid.batching import BatchSize
from pellucid.border.models import is_estimator
from pellucid.errors import ModelError, show
from pellucid.evaluate.measure import measure
from pellucid.evaluate.metric import Metric
from pellucid.evaluate.retrain.answers import accuracy, scores_of, with_two_scores
from pellucid.evaluate.retrain.chance import chance
from pellucid.evaluate.retrain.curves import RetrainCurves, Row
from pellucid.evaluate.retrain.data import Part, packed, placed
from pellucid.evaluate.retrain.notes import notes_of
from pellucid.evaluate.retrain.plan import RANDOM, Job, Plan
from pellucid.evaluate.retrain.ranking import Ranking, silhouette, without
from pellucid.evaluate.retrain.trainer import made
from pellucid.explanation import Explanation
from pellucid.method import Method
from pellucid.run.folder import RunFolder
from pellucid.seeding import seeded
from pellucid.structure import Inputs

# What is found, by the name of its file: of the trainings, of the first model without training
# again, of the maps, and of the metrics that need no training.
RESULTS, BEFORE, MAPS, PROXIES = "results.jsonl", "before.jsonl", "maps.jsonl", "proxies.jsonl"
LEAKS = "leaks.jsonl"
WEIGHTS, EXPLAINED = "first.safetensors", "explained.json"
# On so many samples a model that was read back must answer as before.
FEW = 16


@dataclass(kw_only=True, eq=False)
class Run:
    """A run that goes on: what is in its folder is not computed again."""

    plan: Plan
    folder: RunFolder
    batch_size: BatchSize
    model: Any = None
    rankings: dict[str, tuple[Ranking, Ranking]] = field(default_factory=dict)

    def all(self, retry: bool, progress: bool) -> RetrainCurves:
        """Everything, in the order in which each needs the other."""
        results = [row for row in self.folder.rows(RESULTS) if not (retry and row["error"])]
        done = {Job(row["rival"], row["fraction"], row["seed"]) for row in results}
        leaks = [job for job in self.plan.jobs if job.rival and job.seed == self.plan.first.seed]
        leaks = leaks if self.plan.removal.leak is not None else []
        total = len(list(self.plan.jobs)) + len(leaks)
        with tqdm(
            total=total,
            initial=len(done) + len(self.folder.rows(LEAKS)),
            unit="training",
            disable=None if progress else True,
        ) as bar:
            if self.plan.first not in done:
                results.append(self._first())
                self.folder.write_rows(RESULTS, results)
                bar.update()
            maps = self._maps(retry, bar)
            self._before(maps)
            self._proxies(maps, retry)
            failed = {row["rival"] for row in maps if row["error"]}
            for job in self.plan.jobs:
                if job in done or job == self.plan.first:
                    continue
                if job.rival in failed:
                    bar.update()
                    continue
                bar.set_description(_said(job))
                results.append(self._train(job))
                self.folder.write_rows(RESULTS, results)
                bar.update()
            bar.update(sum(job.rival in failed for job in leaks))
            self._leaks([job for job in leaks if job.rival not in failed], retry, bar)
        return self._curves(results, maps)

    def _first(self) -> dict[str, Any]:
        """Train the model that is explained; keep its weights before it counts as trained."""
        plan, started = self.plan, time.perf_counter()
        try:
            model = self._explained()  # also one that was trained, and stopped right after it
            score = accuracy(model, plan.data, plan.data.test, plan.data.test.inputs)
        except Exception as error:
            raise ModelError(
                "The first model must be trained, for its explanations are what is judged",
                found=show(error).rstrip("."),
                hint="Try the trainer alone: fit(model_factory, (inputs, labels)).",
            ) from error
        seconds = time.perf_counter() - started
        few = plan.data.test.inputs.select(slice(FEW))
        if not self.folder.has(WEIGHTS) and _is_restorable(model, plan.factory, few):
            self.folder.write_tensors(WEIGHTS, model.state_dict())
        return _row(plan.first, accuracy=score, seconds=seconds)

    def _explained(self) -> Any:
        """The first model: in memory, from the folder, or trained again where it cannot be kept."""
        if self.model is None and self.folder.has(WEIGHTS):
            self.model = made(self.plan.factory)
            self.model.load_state_dict(self.folder.tensors(WEIGHTS))
            self.model.eval()
        elif self.model is None:
            self.model = self._fitted(self.plan.first, self.plan.data.train.inputs)
        else:
            return self.model
        self.model = with_two_scores(self.model, self.plan.data.test.inputs)
        return self.model

    def _fitted(self, job: Job, inputs: Inputs) -> Any:
        """A new model, trained on these inputs; every training of one seed draws the same."""
        plan = self.plan
        with chance(job.seed), torch.inference_mode(False), torch.enable_grad():
            # A copy, for trainers may change what they are given in place.
            data = plan.data.train.examples(inputs.copied())
            model = plan.fitted(job.seed)(plan.factory, data)
        if not callable(model) and not is_estimator(model):
            raise ModelError(
                "`fit` must return the trained model",
                found=show(model),
                hint="End it with: return model.",
            )
        return model.eval() if isinstance(model, nn.Module) else model

    def _maps(self, retry: bool, bar: tqdm) -> list[dict[str, Any]]:
        """Explain all samples by every method, and keep the order of their players."""
        found = [row for row in self.folder.rows(MAPS) if self._is_made(row, retry)]
        known = {row["rival"] for row in found}
        order = sorted(enumerate(self.plan.rivals.items()), key=lambda each: each[1][0] != RANDOM)
        for place, (rival, method) in order:
            if rival in known:
                continue
            started, error, constant = time.perf_counter(), "", 0
            bar.set_description(f"maps of {rival}")
            try:
                constant = self._map(place, method)
            except Exception as raised:
                if rival == RANDOM:  # which needs no map: what is wrong is the data or the players
                    raise
                error = show(raised)
            seconds = time.perf_counter() - started
            found.append({"rival": rival, "constant": constant, "seconds": seconds, "error": error})
            self.folder.write_rows(MAPS, found)
        return found

    def _is_made(self, row: dict[str, Any], retry: bool) -> bool:
        """Whether maps need not be made: they are there, unless someone removed them, or failed."""
        return not retry if row["error"] else self.folder.has(self._file_of(row["rival"]))

    def _file_of(self, rival: str) -> str:
        return _file(list(self.plan.rivals).index(rival))

    def _map(self, place: int, method: Method) -> int:
        model, plan = self._explained(), self.plan
        parts = {"train": plan.data.train, "test": plan.data.test}
        tensors: dict[str, Tensor] = {}
        constant = 0
        for number, (name, part) in enumerate(parts.items()):
            ranking = Ranking.of(
                method,
                model,
                part.inputs,
                self._targets(part),
                plan.removal.features,
                seed=number,
                batch_size=self.batch_size,
            )
            tensors |= {f"{name}.ranks": ranking.ranks, f"{name}.counts": ranking.counts}
            constant += ranking.constant
        self.folder.write_tensors(_file(place), tensors)
        return constant

    def _targets(self, part: Part) -> list[int] | None:
        return part.classes.tolist() if self.plan.target == "label" else None

    def _ranking(self, rival: str) -> tuple[Ranking, Ranking]:
        """The order of the players of both parts; those of one rival at a time are in memory."""
        if rival not in self.rankings:
            found = self.folder.tensors(self._file_of(rival))
            self.rankings = {
                rival: (
                    Ranking(ranks=found["train.ranks"], counts=found["train.counts"]),
                    Ranking(ranks=found["test.ranks"], counts=found["test.counts"]),
                )
            }
        return self.rankings[rival]

    def _leaks(self, jobs: Sequence[Job], retry: bool, bar: tqdm) -> None:
        """Train on the pattern of what is removed alone."""
        rows = [row for row in self.folder.rows(LEAKS) if not (retry and row["error"])]
        done = {Job(row["rival"], row["fraction"], row["seed"]) for row in rows}
        for job in jobs:
            if job not in done:
                bar.set_description(f"pattern of {_said(job)}")
                rows.append(self._train(job, leak=True))
                self.folder.write_rows(LEAKS, rows)
                bar.update()

    def _left(self, job: Job, test: bool, leak: bool = False) -> Inputs:
        """The inputs of one part without what the job removes."""
        data = self.plan.data
        inputs = (data.test if test else data.train).inputs
        if job.rival is None:
            return inputs
        removal, ranking = self.plan.removal, self._ranking(job.rival)[int(test)]
        fill = removal.leak if leak and removal.leak is not None else removal.fill
        shown = silhouette(inputs, data.train.inputs, fill) if leak else None
        keep = removal.keep
        return without(
            inputs, ranking, removal.features, fill, job.fraction, keep=keep, shown=shown
        )

    def _train(self, job: Job, leak: bool = False) -> dict[str, Any]:
        """One training from the start, and its accuracy; or why there is none."""
        data, started = self.plan.data, time.perf_counter()
        if job.rival is not None:
            self._ranking(job.rival)  # a file that is broken is no failure of a training
        try:
            model = self._fitted(job, self._left(job, test=False, leak=leak))
            score = accuracy(model, data, data.test, self._left(job, test=True, leak=leak))
        except Exception as error:
            return _row(job, error=show(error), seconds=time.perf_counter() - started)
        return _row(job, accuracy=score, seconds=time.perf_counter() - started)

    def _before(self, maps: list[dict[str, Any]]) -> None:
        """The accuracy of the first model on the same inputs, without training again."""
        if self.folder.has(BEFORE):
            known = {row["rival"] for row in self.folder.rows(BEFORE)}
            if known >= {row["rival"] for row in maps if not row["error"]}:
                return
        rivals = [row["rival"] for row in maps if not row["error"]]
        jobs = [
            Job(rival, fraction, self.plan.first.seed)
            for rival in rivals
            for fraction in self.plan.percentages
        ]
        self.folder.write_rows(BEFORE, [self._asked_before(job) for job in jobs])

    def _asked_before(self, job: Job) -> dict[str, Any]:
        data, model = self.plan.data, self._explained()
        self._ranking(str(job.rival))  # a file that is broken is no failure of the model
        try:
            score = accuracy(model, data, data.test, self._left(job, test=True))
        except Exception as error:
            return _row(job, error=show(error))
        return _row(job, accuracy=score)

    def _proxies(self, maps: list[dict[str, Any]], retry: bool) -> None:
        """What metrics that need no training say of the same methods."""
        alive = [r["rival"] for r in maps if not r["error"] and r["rival"] != RANDOM]
        known = self.folder.rows(PROXIES)
        if {row["rival"] for row in known} >= set(alive) and not (
            retry and any(row["error"] for row in known)
        ):
            return
        if not (self.plan.proxies and alive):
            return
        explanations, failed = self._of_some(alive)
        rows = [
            _proxy(name, rival, error=error)
            for rival, error in failed.items()
            for name in self.plan.proxies
        ]
        for name, metric in self.plan.proxies.items():
            rows += self._measured(name, metric, explanations)
        self.folder.write_rows(PROXIES, rows)

    def _of_some(self, rivals: Sequence[str]) -> tuple[dict[str, Explanation], dict[str, str]]:
        """Explanations of some samples, drawn from all of the test set; and what failed.

        Data that are sorted by class have but one class at their beginning.
        """
        test, count = self.plan.data.test, self.plan.proxy_samples
        rows = torch.randperm(len(test), generator=seeded(0, count))[:count].sort().values
        inputs = packed(placed(test.inputs.select(rows), self._explained()))
        targets = self._targets(test)
        found, failed = {}, {}
        for rival in rivals:
            try:
                found[rival] = self.plan.rivals[rival](
                    self._explained(),
                    inputs,
                    target=targets and [targets[row] for row in rows.tolist()],
                    batch_size=self.batch_size,
                    on_incomplete="ignore",
                )
            except Exception as error:
                failed[rival] = show(error)
        return found, failed

    def _measured(
        self, name: str, metric: Metric, explanations: dict[str, Explanation]
    ) -> list[dict[str, Any]]:
        """What one proxy says of each method, or why it says nothing."""
        if not explanations:
            return []
        try:
            found = measure(self._explained(), list(explanations.values()), metric)
        except Exception as error:
            return [_proxy(name, rival, error=show(error)) for rival in explanations]
        pairs = zip(explanations, found, strict=True)
        return [_proxy(name, rival, value=_finite(each.mean)) for rival, each in pairs]

    def _curves(self, results: list[dict[str, Any]], maps: list[dict[str, Any]]) -> RetrainCurves:
        plan = self.plan
        failures = {row["rival"]: row["error"] for row in maps if row["error"]}
        rows = [Row(**row) for row in results]
        lost = [job for job in plan.jobs if job.rival in failures]
        rows += [Row(**_row(job, error=failures[str(job.rival)])) for job in lost]
        order = {job: place for place, job in enumerate(plan.jobs)}
        return RetrainCurves(
            rivals=plan.rivals,
            rows=tuple(sorted(rows, key=lambda row: order[Job(*row[:3])])),
            before=tuple(Row(**row) for row in self.folder.rows(BEFORE)),
            leaks=tuple(Row(**row) for row in self.folder.rows(LEAKS)),
            percentages=plan.percentages,
            seeds=plan.seeds,
            keep=plan.removal.keep,
            samples=len(plan.data.test),
            proxies=tuple(self.folder.rows(PROXIES)),
            better={name: metric.better for name, metric in plan.proxies.items()},
            notes=notes_of(plan, maps, rows, self._agreement()),
        )

    def _agreement(self) -> float:
        """For how many samples to train on the explained class is the label."""
        if not self.folder.has(EXPLAINED):
            train = self.plan.data.train
            right = accuracy(self._explained(), self.plan.data, train, train.inputs)
            self.folder.write(EXPLAINED, {"right": right})
        found: float = self.folder.read(EXPLAINED)["right"]
        return found


def _is_restorable(model: Any, factory: Any, inputs: Inputs) -> bool:
    """Whether a new model of the factory answers as this one when it has its weights."""
    fresh = made(factory)
    if not isinstance(model, nn.Module) or type(fresh) is not type(model):
        return False
    state = model.state_dict()
    if not all(isinstance(each, Tensor) for each in state.values()):
        return False
    try:
        fresh.load_state_dict(state)
        answer = scores_of(with_two_scores(fresh.eval(), inputs), inputs)
    except Exception:  # it has other weights, or is called otherwise: it is to be trained again
        return False
    return torch.equal(answer, scores_of(model, inputs))


def _row(
    job: Job, *, accuracy: float | None = None, error: str = "", seconds: float = 0.0
) -> dict[str, Any]:
    return {**job._asdict(), "accuracy": accuracy, "error": error, "seconds": round(seconds, 3)}


def _proxy(name: str, rival: str, *, value: float | None = None, error: str = "") -> dict[str, Any]:
    return {"proxy": name, "rival": rival, "value": value, "error": error}


def _file(place: int) -> str:
    return f"maps/{place}.safetensors"


def _finite(value: float) -> float | None:
    return value if value == value and abs(value) != float("inf") else None


def _said(job: Job) -> str:
    return f"{job.rival} {job.fraction:.0%}" if job.rival else "whole data"
