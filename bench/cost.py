"""What explanations cost, as ratios within one run to what the model itself costs.

    F     one forward pass without gradients
    FB    one forward pass, and the gradient of one score to the input

One thread. See README.md beside this file for what is in the table and how to read it.
"""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

# Set before torch is imported, so that no library starts threads of its own.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import torch
from measure import Job, check_peak_bytes, inside, interleaved, peak_bytes, ratios, wall
from networks import NETWORKS, build
from peers import peers
from torch import Tensor, nn

import pellucid as pl

HEAD = ("network", "what", "of", "bar", "median", "minimum", "", "evaluations")
FORM = "{:<9} {:<34} {:<11} {:>6} {:>8} {:>8}  {:<7} {}"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Something that is measured: against `times` of `of`, and what is asked of it.

    `kind` is "time" or "bytes"; `job` returns the explanation, if there is one. What is `long`
    is measured in fewer rounds.
    """

    name: str
    of: str
    job: Job
    bar: float | None = None
    times: int = 1
    kind: str = "time"

    @property
    def long(self) -> bool:
        """Whether it takes many passes."""
        return self.times > 1

    @property
    def unit(self) -> str:
        """What it is compared with, in words."""
        text = self.of if self.times == 1 else f"{self.times} {self.of}"
        return f"bytes of {text}" if self.kind == "bytes" else text


def forward(model: nn.Module, x: Tensor) -> Tensor:
    """F."""
    with torch.no_grad():
        return model(x)


def forward_backward(model: nn.Module, x: Tensor, k: int) -> Tensor:
    """FB: to the input only; parameters require gradients, as they come."""
    leaf = x.detach().clone().requires_grad_()
    return torch.autograd.grad(model(leaf)[:, k].sum(), leaf)[0]


def adjoint_walk(model: nn.Module, x: Tensor, k: int) -> list[Tensor | None]:
    """Record, then walk back with every rule the adjoint."""
    from pellucid.tape.walk import gradient

    return gradient(pl.record(model, x).aim(pl.Target.of(k)))


def candidates(model: nn.Module, x: Tensor, k: int, count: int) -> list[Candidate]:
    """All that this library is held to."""

    def by(name: str, **options: Any) -> Job:
        return partial(pl.explain, model, x, name, target=k, on_incomplete="ignore", **options)

    epsilon = by("lrp", composite="epsilon")
    smooth = by("smoothgrad", samples=count)
    walk = partial(adjoint_walk, model, x, k)
    line = by("integrated_gradients", steps=count)
    return [
        Candidate(name="record", of="F", bar=1.15, job=partial(pl.record, model, x)),
        Candidate(name="record and walk", of="FB", bar=1.15, job=walk),
        Candidate(name="saliency", of="FB", job=by("saliency")),
        Candidate(name="gradcam", of="F", bar=1.2, job=by("gradcam")),
        Candidate(name="lrp epsilon", of="FB", bar=1.2, job=epsilon),
        Candidate(
            name="lrp epsilon-plus-flat",
            of="FB",
            bar=1.7,
            job=by("lrp", composite="epsilon-plus-flat"),
        ),
        Candidate(name="integrated_gradients", of="FB", bar=1.05, times=count, job=line),
        Candidate(name="smoothgrad", of="FB", bar=1.05, times=count, job=smooth),
        Candidate(name="record and walk", of="FB", kind="bytes", job=walk),
        Candidate(name="lrp epsilon", of="FB", bar=1.3, kind="bytes", job=epsilon),
        Candidate(
            name=f"integrated_gradients, {count} steps", of="FB", bar=1.2, kind="bytes", job=line
        ),
        Candidate(name=f"smoothgrad, {count} samples", of="FB", bar=1.2, kind="bytes", job=smooth),
    ]


def warm(chosen: list[Candidate], show: Callable[..., None]) -> dict[Candidate, Any]:
    """Run everything once; keep what works, with its result, and say of the rest why not."""
    results: dict[Candidate, Any] = {}
    known: dict[int, Any] = {}
    for each in chosen:
        try:
            if id(each.job) not in known:
                known[id(each.job)] = each.job()
            results[each] = known[id(each.job)]
        except Exception as error:  # one that fails must not end the run
            show(each.name, each.unit, each.bar, verdict="failed", note=f"{error!r}"[:120])
    return results


def measure_times(
    group: list[Candidate], references: dict[str, Job], rounds: int, *, passes: int = 1
) -> dict[Candidate, tuple[float, float]]:
    """Measure a group in turn with F and FB, of which each round takes so many passes."""
    if not group:
        return {}
    jobs = {name: partial(again, job, passes) for name, job in references.items()}
    seconds = interleaved(jobs | {each.name: each.job for each in group}, rounds)
    return {
        each: ratios(seconds[each.name], seconds[each.of], each.times / passes) for each in group
    }


def again(job: Job, times: int) -> None:
    """Do a job several times."""
    for _ in range(times):
        job()


def measure_network(name: str, options: argparse.Namespace) -> None:
    """Print the rows of one network."""
    model = build(name)
    x = torch.randn(options.batch, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    k = int(forward(model, x)[0].argmax())
    references = {"F": partial(forward, model, x), "FB": partial(forward_backward, model, x, k)}
    show = partial(print_row, name)

    chosen = candidates(model, x, k, options.count)
    if options.peers:
        rows = peers(name, model, x, k, options.count)
        chosen += [Candidate(name=n, of=of, times=t, job=job) for n, of, t, job in rows]
    chosen = [each for each in chosen if options.only in f"{each.name} {each.unit}"]
    _ = references["F"](), references["FB"]()
    results = warm(chosen, show)

    timed = [each for each in results if each.kind == "time"]
    short, long = [[e for e in timed if e.long is flag] for flag in (False, True)]
    found = measure_times(short, references, options.repeat)
    found |= measure_times(long, references, options.long_repeat, passes=options.count)
    for each, (median, minimum) in found.items():
        spent = getattr(results[each], "evaluations", "")
        show(each.name, each.unit, each.bar, median, minimum, note=spent)
    for each in [each for each in results if each.kind == "bytes"]:
        spent, usual = peak_bytes(each.job), peak_bytes(references[each.of])
        note = f"{spent / 1e6:.1f} of {usual / 1e6:.1f} MB"
        show(each.name, each.unit, each.bar, spent / usual, note=note)


def measure_start(options: argparse.Namespace) -> None:
    """Print the rows on starting up, in seconds."""
    script = Path(sys.executable).with_name("pellucid")
    command = [str(script)] if script.exists() else [sys.executable, "-m", "pellucid.cli"]
    jobs = {
        "import pellucid": (0.15, lambda n: inside("import torch", "import pellucid", n)),
        "import, and all methods": (
            None,
            lambda n: inside("import torch", "import pellucid; pellucid.methods()", n),
        ),
        "pellucid --help": (0.3, lambda n: wall([*command, "--help"], n)),
    }
    for name, (bar, job) in jobs.items():
        if options.only not in name:
            continue
        try:
            seconds = sorted(job(options.repeat))
        except Exception as error:  # one that fails must not end the run
            print_row("", name, "s", bar, verdict="failed", note=f"{error!r}"[:120])
        else:
            print_row("", name, "s", bar, seconds[len(seconds) // 2], seconds[0])


def print_row(
    network: str,
    name: str,
    unit: str,
    bar: float | None,
    median: float | None = None,
    minimum: float | None = None,
    *,
    verdict: str = "",
    note: object = "",
) -> None:
    """Print one row, with the verdict on its median."""
    if median is not None and bar is not None:
        verdict = "ok" if median <= bar else "over"
    numbers = ["" if n is None else f"{n:.2f}" for n in (bar, median, minimum)]
    print(FORM.format(network, name, unit, *numbers, verdict, note), flush=True)


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = list(NETWORKS)
    parser.add_argument("--network", nargs="+", choices=names, default=["vgg16", "resnet18"])
    parser.add_argument("--batch", type=int, default=1, help="samples of one call")
    parser.add_argument("--repeat", type=int, default=9, help="rounds of what takes a few passes")
    parser.add_argument("--long-repeat", type=int, default=3, help="rounds of what takes many")
    parser.add_argument(
        "--count", type=int, default=50, help="steps and samples of what takes many"
    )
    parser.add_argument("--only", default="", help="only rows with this text in them")
    parser.add_argument("--peers", action="store_true", help="measure other libraries as well")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print one table."""
    options = options_of(arguments)
    torch.set_num_threads(1)
    check_peak_bytes()
    print(f"torch {torch.__version__}, one thread, batch {options.batch}, 224 x 224")
    print(FORM.format(*HEAD))
    for name in options.network:
        measure_network(name, options)
    measure_start(options)


if __name__ == "__main__":
    main()
