"""What a user has, taken apart: the model on tensors, rows of numbers, and the way back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.border import Schema, asked
from pellucid.border.models import Called
from pellucid.border.tables import encode_array, encode_frame, of_frames
from pellucid.errors import InputError, show
from pellucid.exemplar.counterfactual.build import Table
from pellucid.exemplar.counterfactual.scaling import Scaling
from pellucid.structure import Inputs

# Types of columns that hold more numbers than float64 does.
WIDE = ("int64", "uint64", "object")


@dataclass(frozen=True, kw_only=True, eq=False)
class Taken:
    """A model on tensors, its inputs as it gets them, and what they are as rows of numbers.

    `decode` makes what the model is called with of rows (row, element). `write` makes what the user
    has (a frame, an array, a tensor) of rows and the number of the input that each is for; `reread`
    takes that for rows again. What is `called` has no gradient. `predict` is that of a classifier.
    `home` (sample, element) are the codes of the inputs, if rows are codes.
    """

    model: Callable[..., Any]
    inputs: Inputs
    target: Any
    table: Table
    decode: Callable[[Tensor], Tensor]
    write: Callable[[Tensor, list[int]], Any]
    reread: Callable[[Any], Tensor] | None
    called: bool = False
    classes: tuple[str, ...] = ()
    predict: Callable[[Any], Any] | None = None
    home: Tensor | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class _Data:
    """Data that come in the columns of the inputs, as the border takes those of methods."""

    agnostic: ClassVar[bool] = True
    name: ClassVar[str] = "counterfactual"
    data: Any = None


def take(
    model: Any, inputs: Any, data: Any, target: Any, scaling: Any, names: Sequence[str] | None
) -> Taken:
    """Take a model and inputs of any kind."""
    if isinstance(model, nn.Module) and _is_frame(inputs):
        return _of_module_and_frame(model, inputs, data, target, scaling)
    carried: list[Any] = [_Data(data=data)]
    question = asked(model, inputs, carried, [target], 0)
    leaf, schema = _only(question.inputs), question.inputs.schema
    if schema is not None:
        _check_table(schema, scaling)
    rows, shape = flat(leaf), tuple(leaf.shape[1:])
    titles = _titles(names, tuple(map(str, schema.names)) if schema is not None else (), shape)
    given: Any = question.methods[0]
    table = Table(
        rows=rows,
        shape=shape,
        data=_data(given.data, shape),
        names=titles,
        dtypes=_dtypes(schema, inputs, leaf),
        schema=schema if len(shape) == 1 else None,
    )
    write, reread = _ways(schema, inputs, leaf)
    decode = _decoder(Scaling.of(scaling, shape, titles), leaf)
    classes = question.model.schema.classes if isinstance(question.model, Called) else ()
    return Taken(
        model=question.model,
        inputs=question.inputs.replace([decode(rows)]),
        target=question.targets[0],
        table=table,
        decode=decode,
        write=write,
        reread=reread,
        called=schema is not None,
        classes=classes,
        predict=getattr(model, "predict", None) if classes else None,
    )


def _of_module_and_frame(
    model: nn.Module, frame: Any, data: Any, target: Any, scaling: Any
) -> Taken:
    """A torch module that gets the columns of a frame as a tensor (sample, feature)."""
    if data is not None and not _is_frame(data):
        raise InputError("`data` must be a data frame of the columns of the inputs", got=data)
    schema = of_frames([frame] if data is None else [frame, data])
    words = [
        name
        for name, categories in zip(schema.names, schema.categories, strict=True)
        if not set(categories) <= {False, True}
    ]
    if words:
        raise InputError(
            "A data frame for a torch module must hold numbers",
            found=f"columns of categories: {words!r}",
            hint="One-hot them (pandas.get_dummies) and name the groups: Constraints(one_hot=...); "
            "or pass a function of the frame.",
        )
    rows = encode_frame(schema, frame)
    found = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(0))
    leaf = rows.to(device=found.device, dtype=found.dtype)
    names = tuple(map(str, schema.names))
    write, reread = _ways(schema, frame, rows)
    decode = _decoder(Scaling.of(scaling, (len(names),), names), leaf)
    return Taken(
        model=model,
        inputs=Inputs.of(decode(rows)),
        target=target,
        table=Table(
            rows=rows,
            shape=(len(names),),
            data=None if data is None else encode_frame(schema, data, what="data"),
            names=names,
            dtypes=schema.dtypes,
            schema=schema,
        ),
        decode=decode,
        write=write,
        reread=reread,
    )


def _decoder(scaling: Scaling, leaf: Tensor) -> Callable[[Tensor], Tensor]:
    """What makes the tensor that the model is called with of rows (row, element)."""
    shape, device, dtype = leaf.shape[1:], leaf.device, leaf.dtype
    return lambda rows: scaling.apply(rows).reshape(-1, *shape).to(device=device, dtype=dtype)


def _is_frame(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "columns")


def _only(inputs: Inputs) -> Tensor:
    """The one tensor that there is."""
    if not isinstance(inputs.tree, Tensor):
        raise InputError(
            "`inputs` of a counterfactual must be one tensor, array or data frame",
            found=show(inputs.tree),
            hint="Bind what stays: lambda x: model(x, other), or lambda x: model(name=x).",
        )
    if inputs.leaves[0].ndim < 2:
        raise InputError(
            "`inputs` must have a batch axis, and at least one more",
            got=inputs.leaves[0],
            hint="For one sample add the axis: inputs.unsqueeze(0).",
        )
    return inputs.leaves[0]


def flat(tensor: Tensor) -> Tensor:
    """A tensor as rows (row, element), in float64."""
    return tensor.detach().clone().cpu().double().flatten(1)


def _data(given: Any, shape: tuple[int, ...]) -> Tensor | None:
    """Rows of data, flat, of the shape of the inputs."""
    if given is None:
        return None
    if not isinstance(given, Tensor) or tuple(given.shape[1:]) != shape or not len(given):
        raise InputError(
            f"`data` must be rows of the shape of a sample, {['row', *shape]}", found=show(given)
        )
    if given.isinf().any():
        raise InputError(
            "`data` must be finite",
            found=f"{int(given.isinf().sum())} infinite values",
            hint="Clean the data first, for example with data[data.isfinite().all(1)].",
        )
    return flat(given)


def _titles(
    names: Sequence[str] | None, known: tuple[str, ...], shape: tuple[int, ...]
) -> tuple[str, ...]:
    """Names of columns, given, known or counted; images have none."""
    if len(shape) > 1:
        if names is not None:
            raise InputError("`names` must be those of the columns of a table", got=names)
        return known
    count = shape[0]
    if names is None:
        return known or tuple(map(str, range(count)))
    found = tuple(map(str, names))
    if isinstance(names, str) or len(found) != count or len(set(found)) != count:
        raise InputError(f"`names` must name each of the {count} columns once", got=names)
    return found


def _dtypes(schema: Schema | None, inputs: Any, leaf: Tensor) -> tuple[str, ...]:
    """The types in which the user gets the numbers of each element."""
    if schema is None or isinstance(inputs, Tensor):
        return (str((inputs if isinstance(inputs, Tensor) else leaf).dtype),)
    return schema.dtypes if len(schema.dtypes) == len(schema.names) else schema.dtypes[:1]


def _check_table(schema: Schema, scaling: Any) -> None:
    if schema.is_text:
        raise InputError(
            "`inputs` of a counterfactual must be a table, images or signals",
            found="texts",
            hint="Which words carry a decision: pellucid.explain(model, texts, 'kernel_shap').",
        )
    if scaling is not None:
        raise InputError(
            "`scaling` must be left out where the model is no torch module on tensors",
            found=show(scaling),
            hint="Such a model scales its columns by itself: a pipeline, or a function.",
        )


def _ways(
    schema: Schema | None, inputs: Any, leaf: Tensor
) -> tuple[Callable[[Tensor, list[int]], Any], Callable[[Any], Tensor]]:
    """The way to what the user has, and back; what does not change is the user's own number.

    A whole number beyond 2^53, such as one that names somebody, is none of float64.
    """
    shape = leaf.shape[1:]
    if isinstance(inputs, Tensor):

        def tensor(rows: Tensor, samples: list[int]) -> Tensor:
            made = rows.reshape(-1, *shape).to(device=inputs.device, dtype=inputs.dtype)
            own = inputs.detach()[samples]
            return torch.where((flat(own) == rows).reshape(made.shape).to(own.device), own, made)

        return tensor, flat
    if schema is not None and schema.layout == "frame":
        return _ways_of_frames(schema, inputs)
    known = schema if schema is not None else Schema(layout="array", dtypes=(str(inputs.dtype),))

    def reread(array: np.ndarray) -> Tensor:
        return flat(encode_array(known, array))

    def array(rows: Tensor, samples: list[int]) -> np.ndarray:
        made = known.decode(rows.reshape(-1, *shape).to(leaf.dtype))
        own = inputs[samples]
        return np.where((reread(own) == rows).reshape(made.shape).numpy(), own, made)

    return array, reread


def _ways_of_frames(
    schema: Schema, frame: Any
) -> tuple[Callable[[Tensor, list[int]], Any], Callable[[Any], Tensor]]:
    """The way to rows of a data frame, with its index, and back."""
    exact = [i for i, name in enumerate(schema.dtypes) if name.lower() in WIDE]
    exact = [i for i in exact if schema.kinds[i] == "numeric"]

    def reread(made: Any) -> Tensor:
        return encode_frame(schema, made)

    def write(rows: Tensor, samples: list[int]) -> Any:
        made, own = schema.decode(rows), frame.iloc[samples]
        made.index = own.index
        same = (reread(own[made.columns]) == rows).numpy()
        for i in exact if len(own) else ():
            made.isetitem(i, own[made.columns[i]].where(same[:, i], made.iloc[:, i]))
        return made

    return write, reread
