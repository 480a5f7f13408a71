"""What the running program's frames tell of an ATen call: its line, and whether it is asked for."""

import sys
from types import FrameType

import torch

# Excluded below a call that came through the dispatcher.
DISPATCHED = torch._C.DispatchKey.ADInplaceOrView


def saves(frame: FrameType, *, again: bool) -> bool:
    """Whether autograd itself detaches, to save the result of a call, or to read what it saved.

    The program does by `.detach()`, which comes through the dispatcher, or by `.data`, which does
    not, but is another instruction of the program than the call before: `again` says that it is
    the same one.
    """
    if torch._C._dispatch_tls_is_dispatch_key_excluded(DISPATCHED):
        return False
    by_a_function = frame.f_globals.get("__name__") == "torch.autograd.function"
    return again or by_a_function or torch._C._current_graph_task_id() != -1


def source_line() -> str:
    """The innermost line of the running program that is neither torch's nor ours."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.partition(".")[0] not in ("torch", "pellucid"):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return ""
