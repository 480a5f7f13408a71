"""Modes that see every ATen call below autograd, and how one passes a call on."""

from types import CodeType
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class DispatchMode(TorchDispatchMode):
    """Sees every ATen call below autograd; the compiler of a compiled model leaves it alone."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__torch_dispatch__" in cls.__dict__:
            _leave_alone(cls.__torch_dispatch__.__code__)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Torch's own way imports the whole compiler at the first call, which takes seconds.
        return False


def _leave_alone(code: CodeType) -> None:
    """Tell the compiler neither to compile a function nor what it calls.

    This is private to torch: where it is missing, the compiler warns, and answers are the same.
    """
    try:
        from torch._C._dynamo import eval_frame as compiler

        skip = compiler._FrameAction.SKIP
        compiler.set_code_exec_strategy(code, compiler._FrameExecStrategy(skip, skip))
    except (AttributeError, ImportError):
        return


def called(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What an ATen call returns, as a mode has to ask for it.

    To a mode, TorchScript hands a tensor that it made of a number as that number; the call itself
    takes it as a tensor alone.
    """
    try:
        return function(*args, **kwargs)
    except RuntimeError as error:
        if "Expected a value of type 'Tensor'" not in str(error):
            raise
        given = zip(args, function._schema.arguments, strict=False)
        return function(*(_as_given(value, str(known.type)) for value, known in given), **kwargs)


def _as_given(value: Any, type_name: str) -> Any:
    is_number = isinstance(value, int | float)
    return torch.tensor(value) if is_number and type_name == "Tensor" else value
