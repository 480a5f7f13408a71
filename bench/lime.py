"""What LIME spends beyond the model: milliseconds an evaluation, of images of 49 superpixels.

    F       forward passes without gradients on as many images, in batches of the same size
    each    one explanation of one image, by as many draws

Own work is (each - F) / evaluations. Bar: 0.3 ms. One thread. Peers are in the same rounds, where
they are installed: captum's Lime with its kernel and batches, and lime's image explainer.
"""

import argparse
import os
import statistics
from collections.abc import Callable

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import numpy as np
import torch
from cheap import CELL, SIDE, bare, model
from measure import Job, interleaved
from torch import Tensor, nn

import pellucid as pl

BAR = 0.3
SEGMENTS = torch.arange(49).reshape(7, 7).repeat_interleave(CELL, 0).repeat_interleave(CELL, 1)


def peers(net: nn.Module, x: Tensor, samples: int, batch: int) -> dict[str, Job]:
    """Jobs of the packages that are installed."""
    found: dict[str, Job] = {}
    try:
        from captum.attr import Lime
    except ImportError:
        pass
    else:
        found["captum"] = lambda: Lime(net).attribute(
            x, target=0, feature_mask=SEGMENTS[None, None], n_samples=samples,
            perturbations_per_eval=batch,
        )  # fmt: skip
    try:
        from lime.lime_image import LimeImageExplainer
    except ImportError:
        return found
    image = x[0].permute(1, 2, 0).double().numpy()

    def called(rows: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return net(torch.from_numpy(np.stack(rows)).float().permute(0, 3, 1, 2)).numpy()

    found["lime"] = lambda: LimeImageExplainer(random_state=0).explain_instance(
        image, called, hide_color=0, num_samples=samples, batch_size=batch, progress_bar=False,
        segmentation_fn=lambda _: SEGMENTS.numpy(),
    )  # fmt: skip
    return found


def main() -> None:
    """Print one line a job."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    net, x = model(), torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    options = {"features": SEGMENTS[None, None], "samples": given.samples}

    def ours(**more: object) -> Callable[[], pl.Explanation]:
        return lambda: pl.explain(
            net, x, "lime", target=0, batch_size=given.batch, **options, **more
        )  # fmt: skip

    jobs: dict[str, Job] = {
        "F": bare(net, x, given.samples, given.batch),
        "pellucid": ours(),
        "pellucid, no repeated fits": ours(runs=0),
        "pellucid, k=10": ours(k=10),
        **peers(net, x, given.samples, given.batch),
    }
    for job in jobs.values():
        job()
    spent = ours()().evaluations
    print(f"{spent.forward} evaluations in {spent.calls} calls, of at most {given.batch}")
    seconds = interleaved(jobs, given.rounds)
    below = statistics.median(seconds["F"])
    for name, each in seconds.items():
        own = (statistics.median(each) - below) / given.samples * 1000
        bar = f"  bar {BAR}" if name.startswith("pellucid") else ""
        print(f"{name:28s} {statistics.median(each):8.3f} s {own:8.3f} ms an evaluation{bar}")


if __name__ == "__main__":
    main()
