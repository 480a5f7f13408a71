"""A run that goes on: what is in its folder is read, the rest is computed and put there."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from tqdm import tqdm

from pellucid.batching import BatchSize
from pellucid.errors import ModelError, show
from pellucid.evaluate.folder import RunFolder
from pellucid.evaluate.measure import measure
from pellucid.evaluate.retrain.answers import accuracy
from pellucid.evaluate.retrain.chance import chance
from pellucid.evaluate.retrain.curves import RetrainCurves, Row
from pellucid.evaluate.retrain.data import Part, packed, placed
from pellucid.evaluate.retrain.notes import notes_of
from pellucid.evaluate.retrain.plan import RANDOM, Job, Plan
from pellucid.evaluate.retrain.ranking import Ranking, silhouette, without
from pellucid.evaluate.retrain.trainer import made
from pellucid.method import Method
from pellucid.structure import Inputs

# What is found, by the name of its file: of the trainings, of the first model without training
# again, of the maps, and of the metrics that need no training.
RESULTS, BEFORE, MAPS, PROXIES = "results.jsonl", "before.jsonl", "maps.jsonl", "proxies.jsonl"
LEAKS = "leaks.jsonl"
WEIGHTS, EXPLAINED = "first.safetensors", "explained.json"


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
            maps = self._maps(retry)
            self._before(maps)
            self._proxies(maps, retry)
            failed = {row["rival"] for row in maps if row["error"]}
            for job in self.plan.jobs:
                if job in done or job == self.plan.first or job.rival in failed:
                    continue
                bar.set_description(_said(job))
                results.append(self._train(job))
                self.folder.write_rows(RESULTS, results)
                bar.update()
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
                got=error,
                hint="Try the trainer alone: fit(model_factory, (inputs, labels)).",
            ) from error
        seconds = time.perf_counter() - started
        if not self.folder.has(WEIGHTS) and _is_restorable(model, plan.factory):
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
        return self.model

    def _fitted(self, job: Job, inputs: Inputs) -> Any:
        """A new model, trained on these inputs; every training of one seed draws the same."""
        plan = self.plan
        with chance(job.seed):
            model = plan.fitted(job.seed)(plan.factory, plan.data.train.examples(inputs))
        return model.eval() if isinstance(model, nn.Module) else model

    def _maps(self, retry: bool) -> list[dict[str, Any]]:
        """Explain all samples by every method, and keep the order of their players."""
        found = [row for row in self.folder.rows(MAPS) if not (retry and row["error"])]
        known = {row["rival"] for row in found}
        order = sorted(enumerate(self.plan.rivals.items()), key=lambda each: each[1][0] != RANDOM)
        for place, (rival, method) in order:
            if rival in known:
                continue
            started, error, constant = time.perf_counter(), "", 0
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
            found = self.folder.tensors(_file(list(self.plan.rivals).index(rival)))
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
        data, rows = self.plan.data, []
        for rival in [row["rival"] for row in maps if not row["error"]]:
            for fraction in self.plan.percentages:
                job = Job(rival, fraction, self.plan.first.seed)
                score = accuracy(self._explained(), data, data.test, self._left(job, test=True))
                rows.append(_row(job, accuracy=score))
        self.folder.write_rows(BEFORE, rows)

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
        test, count = self.plan.data.test, self.plan.proxy_samples
        inputs = packed(placed(test.inputs.select(slice(count)), self._explained()))
        targets = self._targets(test)
        explanations = [
            self.plan.rivals[rival](
                self._explained(),
                inputs,
                target=targets and targets[:count],
                batch_size=self.batch_size,
                on_incomplete="ignore",
            )
            for rival in alive
        ]
        rows = []
        for name, metric in self.plan.proxies.items():
            try:
                measured = measure(self._explained(), explanations, metric)
                rows += [
                    {"proxy": name, "rival": rival, "value": _finite(each.mean), "error": ""}
                    for rival, each in zip(alive, measured, strict=True)
                ]
            except Exception as error:
                rows += [
                    {"proxy": name, "rival": rival, "value": None, "error": show(error)}
                    for rival in alive
                ]
        self.folder.write_rows(PROXIES, rows)

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
            proxies=tuple(self.folder.rows(PROXIES)),
            better={name: metric.better for name, metric in plan.proxies.items()},
            notes=notes_of(plan, maps, self._agreement()),
        )

    def _agreement(self) -> float:
        """For how many samples to train on the explained class is the label."""
        if not self.folder.has(EXPLAINED):
            train = self.plan.data.train
            right = accuracy(self._explained(), self.plan.data, train, train.inputs)
            self.folder.write(EXPLAINED, {"right": right})
        found: float = self.folder.read(EXPLAINED)["right"]
        return found


def _is_restorable(model: Any, factory: Any) -> bool:
    """Whether a new model of the factory becomes this one by its weights alone."""
    fresh = made(factory)
    if not isinstance(model, nn.Module) or type(fresh) is not type(model):
        return False
    own, new = model.state_dict(), fresh.state_dict()
    tensors = all(isinstance(each, Tensor) for each in own.values())
    return tensors and {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in new.items()}


def _row(
    job: Job, *, accuracy: float | None = None, error: str = "", seconds: float = 0.0
) -> dict[str, Any]:
    return {**job._asdict(), "accuracy": accuracy, "error": error, "seconds": round(seconds, 3)}


def _file(place: int) -> str:
    return f"maps/{place}.safetensors"


def _finite(value: float) -> float | None:
    return value if value == value and abs(value) != float("inf") else None


def _said(job: Job) -> str:
    return f"{job.rival} {job.fraction:.0%}" if job.rival else "whole data"
