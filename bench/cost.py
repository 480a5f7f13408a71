"""What explanations cost, as ratios within one run to what the model itself costs.

    F     one forward pass without gradients
    FB    one forward pass, and the gradient of one score to the input
    each  some methods, called one after another
    ten   relevance of ten classes, called one after another

One thread. See README.md beside this file for what is in the table and how to read it.
"""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

# Set before torch is imported, so that no library starts threads of its own.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import torch
from measure import (
    Job,
    check_peak_bytes,
    inside,
    interleaved,
    peak_bytes,
    ratios,
    resident_growth,
    wall,
)
from networks import NETWORKS, build
from peers import peers
from torch import Tensor, nn

import pellucid as pl

HEAD = ("network", "what", "of", "bar", "median", "minimum", "", "evaluations")
FORM = "{:<11} {:<34} {:<11} {:>6} {:>8} {:>8}  {:<7} {}"

# What `compare` shares one recording among.
SHARED = ("saliency", "gradient_x_input", "guided_backprop", "deconvnet", "lrp", "gradcam")
# Samples of one call, where more than one number is of interest: a transformer has many small
# operations, so what each of them costs beside its arithmetic weighs most at one sample.
BATCHES = {"vit_tiny": (1, 8)}
# What only a transformer is measured on, and what else, since it has no feature maps.
OF_TRANSFORMERS = ("lrp attnlrp",)
ALSO_OF_TRANSFORMERS = ("record", "record and walk")
# The bars of a transformer, at one sample and at several, where they are others: at one sample,
# what surrounds the arithmetic of its many small operations weighs most.
BARS_OF_TRANSFORMERS = {
    "record": (None, None),
    "record and walk": (1.3, 1.15),
    "lrp attnlrp": (1.5, 1.2),
}
# Composites of relevance propagation, with the bar of each against FB.
COMPOSITES = {
    "epsilon": 1.2,
    "epsilon-plus": 1.7,
    "epsilon-plus-flat": 1.7,
    "epsilon-gamma-box": 2.2,
    "epsilon-alpha2-beta1": 2.2,
    "attnlrp": None,
}
# In MB over all calls. One map of 64 channels kept by each of 200 calls would be 100.
MOST_GROWTH = 10.0


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


def asked(model: nn.Module, x: Tensor, k: int) -> Callable[..., Job]:
    """Make the job of asking one method."""

    def by(name: str, **options: Any) -> Job:
        return partial(pl.explain, model, x, name, target=k, on_incomplete="ignore", **options)

    return by


def one_by_one(model: nn.Module, x: Tensor, k: int) -> None:
    """Call the methods that `compare` is measured with, each with a recording of its own."""
    by = asked(model, x, k)
    for name in SHARED:
        by(name)()


def ten_by_one(model: nn.Module, x: Tensor) -> None:
    """Ask for the relevance of ten classes, each with a recording of its own."""
    for k in range(10):
        asked(model, x, k)("lrp")()


def candidates(model: nn.Module, x: Tensor, k: int, count: int) -> list[Candidate]:
    """All that this library is held to."""
    by = asked(model, x, k)
    together = partial(pl.compare, model, x, list(SHARED), target=k, on_incomplete="ignore")
    relevance = {name: by("lrp", composite=name) for name in COMPOSITES}
    epsilon = relevance["epsilon"]
    classes = list(range(10))
    at_once = partial(pl.compare, model, x, ["lrp"], targets=classes, on_incomplete="ignore")
    smooth = by("smoothgrad", samples=count)
    walk = partial(adjoint_walk, model, x, k)
    line = by("integrated_gradients", steps=count)
    return [
        Candidate(name="record", of="F", bar=1.15, job=partial(pl.record, model, x)),
        Candidate(name="record and walk", of="FB", bar=1.15, job=walk),
        Candidate(name="saliency", of="FB", job=by("saliency")),
        Candidate(name="guided_backprop", of="FB", bar=1.15, job=by("guided_backprop")),
        Candidate(name="deconvnet", of="FB", bar=1.15, job=by("deconvnet")),
        Candidate(name=f"compare, {len(SHARED)} methods", of="each", bar=0.6, job=together),
        Candidate(name="gradcam", of="F", bar=1.2, job=by("gradcam")),
        *(
            Candidate(name=f"lrp {name}", of="FB", bar=COMPOSITES[name], job=job)
            for name, job in relevance.items()
        ),
        Candidate(name="ten classes at once", of="ten", bar=0.6, job=at_once),
        Candidate(name="deeplift", of="FB", bar=1.8, job=by("deeplift")),
        Candidate(name="integrated_gradients", of="FB", bar=1.05, times=count, job=line),
        Candidate(name="smoothgrad", of="FB", bar=1.05, times=count, job=smooth),
        # One more pass finds the maps, and the score without a mask.
        Candidate(
            name=f"scorecam, {count} channels",
            of="F",
            bar=1.05,
            times=count + 1,
            job=by("scorecam", channels=count),
        ),
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
    """Measure a group in turn with what it is compared with, so many passes of it a round."""
    if not group:
        return {}
    needed = {each.of for each in group}
    jobs = {name: partial(again, job, passes) for name, job in references.items() if name in needed}
    seconds = interleaved(jobs | {each.name: each.job for each in group}, rounds)
    return {
        each: ratios(seconds[each.name], seconds[each.of], each.times / passes) for each in group
    }


def again(job: Job, times: int) -> None:
    """Do a job several times."""
    for _ in range(times):
        job()


def rows_of(name: str, model: nn.Module, x: Tensor, k: int, count: int) -> list[Candidate]:
    """What one network is measured on, with its bars."""
    rows = candidates(model, x, k, count)
    if not name.startswith("vit"):
        return [each for each in rows if each.name not in OF_TRANSFORMERS]
    known = (*OF_TRANSFORMERS, *ALSO_OF_TRANSFORMERS)
    return [of_transformer(each, x) for each in rows if each.name in known]


def of_transformer(candidate: Candidate, x: Tensor) -> Candidate:
    """The same, with the bar that a transformer has for so many samples."""
    if candidate.kind != "time":
        return candidate
    one, several = BARS_OF_TRANSFORMERS[candidate.name]
    return replace(candidate, bar=one if len(x) == 1 else several)


def measure_network(name: str, batch: int, options: argparse.Namespace) -> None:
    """Print the rows of one network, for so many samples a call."""
    model = build(name)
    x = torch.randn(batch, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    k = int(forward(model, x)[0].argmax())
    references = {
        "F": partial(forward, model, x),
        "FB": partial(forward_backward, model, x, k),
        "each": partial(one_by_one, model, x, k),
        "ten": partial(ten_by_one, model, x),
    }
    show = partial(print_row, name if batch == 1 else f"{name} x{batch}")

    chosen = rows_of(name, model, x, k, options.count)
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


def measure_growth(options: argparse.Namespace) -> None:
    """Print by how many MB the process grows over many calls; small inputs, so that it is soon."""
    name, calls = f"resident memory, {options.calls} calls", options.calls
    if options.only not in name:
        return
    model, x = build("resnet18", size=64), torch.randn(2, 3, 64, 64)
    together = partial(pl.compare, model, x, list(SHARED), target=0, on_incomplete="ignore")
    try:
        grown = resident_growth(together, calls) / 1e6
    except Exception as error:  # one that fails must not end the run
        print_row("resnet18", name, "MB", MOST_GROWTH, verdict="failed", note=f"{error!r}"[:120])
    else:
        print_row("resnet18", name, "MB", MOST_GROWTH, grown, grown)


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
    parser.add_argument("--network", nargs="+", choices=names, default=names)
    parser.add_argument("--batch", type=int, help="samples of one call; by default 1, or 1 and 8")
    parser.add_argument("--repeat", type=int, default=9, help="rounds of what takes a few passes")
    parser.add_argument("--long-repeat", type=int, default=3, help="rounds of what takes many")
    parser.add_argument(
        "--count", type=int, default=50, help="steps and samples of what takes many"
    )
    parser.add_argument("--calls", type=int, default=200, help="calls over which memory may grow")
    parser.add_argument("--only", default="", help="only rows with this text in them")
    parser.add_argument("--peers", action="store_true", help="measure other libraries as well")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print one table."""
    options = options_of(arguments)
    torch.set_num_threads(1)
    check_peak_bytes()
    print(f"torch {torch.__version__}, one thread, 224 x 224")
    print(FORM.format(*HEAD))
    # First, before the process has been large: memory that was given back would hide a leak.
    measure_growth(options)
    for name in options.network:
        for batch in (options.batch,) if options.batch else BATCHES.get(name, (1,)):
            measure_network(name, batch, options)
    measure_start(options)


if __name__ == "__main__":
    main()
