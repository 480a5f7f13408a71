"""Seconds and bytes: how they are measured so that a noisy machine does little harm."""

import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

Job = Callable[[], Any]


def interleaved(jobs: dict[str, Job], rounds: int) -> dict[str, list[float]]:
    """Time every job once a round, so that slow minutes of the machine hit all of them alike.

    Each round starts one job further on, so that no job always follows the same other one.
    """
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    names = list(jobs)
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            started = time.perf_counter()
            jobs[name]()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def ratios(above: list[float], below: list[float], times: float = 1) -> tuple[float, float]:
    """The ratio of the medians and of the minima; `times` of the lower one are compared."""
    medians = statistics.median(above) / statistics.median(below)
    return medians / times, min(above) / min(below) / times


def peak_bytes(job: Job) -> int:
    """The largest number of bytes of tensors that were alive at once and made by the job.

    The profiler notes every block that torch's CPU allocator gives out and takes back; their
    running sum is what is alive. So this is exact and repeats to the byte, unlike the size of the
    process, which the C library rounds, keeps and gives back as it likes. Memory that kernels
    take without torch's allocator (scratch space of oneDNN) is not in it, and neither is what was
    there before: weights, the input, and whatever an earlier call has cached.
    """
    with _silent(), torch.autograd.profiler.profile(profile_memory=True) as profile:
        job()
    events = [
        (event.start_ns(), event.nbytes())
        for event in profile.kineto_results.events()
        if event.name() == "[memory]" and event.device_type() == torch.autograd.DeviceType.CPU
    ]
    alive = peak = 0
    for _, size in sorted(events, key=lambda event: event[0]):
        alive += size
        peak = max(peak, alive)
    return peak


def resident_growth(job: Job, calls: int, warm: int = 20) -> int:
    """By how many bytes the process grows over so many calls, after some that fill the caches."""
    for _ in range(warm):
        job()
    before = _resident()
    for _ in range(calls):
        job()
    return _resident() - before


def _resident() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def check_peak_bytes() -> None:
    """Raise unless the measure is exact where the answer is known: 8 + 4 MB, then 2 + 8 MB."""

    def known() -> None:
        first = torch.empty(1_000_000)
        second = torch.empty(2_000_000)
        del first
        third = torch.empty(500_000)
        del second, third

    found = peak_bytes(known)
    if found != 12_000_000:
        raise RuntimeError(f"The measure of memory is wrong here: {found} for 12000000 bytes.")


def wall(command: list[str], repeat: int) -> list[float]:
    """Seconds from starting a command to its end, after one run that fills the caches."""
    seconds = []
    for _ in range(repeat + 1):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def inside(setup: str, code: str, repeat: int) -> list[float]:
    """Seconds that a line of Python takes in a fresh process, after a set-up that is not timed."""
    timed = f"{setup}\nimport time\nt = time.perf_counter()\n{code}\nprint(time.perf_counter() - t)"
    command = [sys.executable, "-c", timed]
    runs = [subprocess.run(command, check=True, capture_output=True) for _ in range(repeat + 1)]
    return [float(run.stdout) for run in runs[1:]]


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the profiler from writing its log into the table; show it if something breaks."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
