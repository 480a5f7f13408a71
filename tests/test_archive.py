"""Explanations come back from their file as they were, and bad files are refused in words."""

import dataclasses
import json
import os
import subprocess
import sys
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

import pellucid as pl
from pellucid import archive, method
from pellucid.errors import FileError, InputError, TargetError, UnknownNameError
from pellucid.explanation import Completeness, Evaluations, Explanation
from pellucid.method import Attribution, Method
from pellucid.propagate.composites import COMPOSITES
from pellucid.propagate.rules import Rule, Share
from pellucid.tape.ledger import Entry, Ledger
from pellucid.target import Target
from tests.fitted import ready

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.complex128,
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Foreign(Method):
    """A method of a third party, with options of every kind."""

    inner: Any = None
    scale: Any = 1.0
    cache: Any = dataclasses.field(default=None, compare=False)

    def attribute(self, case: Any) -> Attribution:
        return Attribution(values=[])


@dataclass(frozen=True, kw_only=True)
class Halved(Rule):
    """A rule of a third party."""

    by: float = 2.0

    def share(self, linear: Any, signal: Tensor) -> Share:
        return Share([signal / self.by])


@pytest.fixture
def foreign() -> Iterator[type[Method]]:
    """The foreign method in the registry, for one test only."""
    yield pl.register("foreign")(Foreign)
    method._REGISTRY.known.pop("foreign", None)


def explanation(**changes: Any) -> Explanation:
    """A small explanation with every field filled, unless it is changed."""
    row = Entry(number=3, name="mm", path="a.b", rule="Epsilon", relevance_out=0.1, relevance_in=2)
    fields = {
        "values": torch.tensor([[0.1, -2.0], [torch.inf, torch.nan]]),
        "inputs": torch.ones(2, 2),
        "output": {"logits": torch.eye(2), "aux": (torch.zeros(2), [None, 3, 0.1, "text", True])},
        "score": torch.tensor([1.0, 2.0]),
        "target": Target.path("logits", target=(1, 0)),
        "method": pl.Saliency(reduce="squared"),
        "baseline": pl.Baseline.per_sample(torch.zeros(2, 2)),
        "completeness": Completeness(torch.ones(2).double(), torch.tensor([1.0, 2.0])),
        "error": torch.full((2, 2), 0.5),
        "evaluations": Evaluations(3, 2, 1),
        "seconds": 1 / 3,
        "notes": ("One.", "Zwei: ä, \N{SNOWMAN}."),
        "ledger": Ledger(score=1.0, explained=0.5, rows=(row, row)),
    }
    return Explanation(**(fields | changes))


def back(folder: Path, **changes: Any) -> Explanation:
    """Save an explanation, load it, and see that both are equal."""
    made = explanation(**changes)
    found = pl.load(made.save(folder / "e.safetensors"))
    assert found == made
    assert os.listdir(folder) == ["e.safetensors"]
    return found


def same(a: Any, b: Any) -> bool:
    """Equal in every tensor, with the same types throughout; a second opinion on `==`."""
    if isinstance(a, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def tampered(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Write a file whose JSON was changed by hand."""
    writer, (_, tensors) = archive.Writer(), archive.contents(explanation())
    fields = writer.fields(explanation())
    record = {"format": 1, "version": "0", "fields": fields, "same": {}}
    change(record)
    save_file({n: t.clone() for n, t in tensors.items()}, path, {"pellucid": json.dumps(record)})
    return path


# -- what comes back


def test_every_field_comes_back(tmp_path: Path) -> None:
    found, made = back(tmp_path), explanation()
    assert found.method == made.method
    assert found.target == made.target
    assert found.baseline == made.baseline
    assert found.evaluations == made.evaluations
    assert isinstance(found.evaluations, Evaluations)
    assert (found.seconds, found.notes, found.ledger) == (made.seconds, made.notes, made.ledger)
    assert same(found.output, made.output)
    torch.testing.assert_close(found.values, made.values, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(found.completeness.expected, made.completeness.expected)


def test_fields_that_a_method_leaves_out_come_back_as_none(tmp_path: Path) -> None:
    empty = dict.fromkeys(["baseline", "completeness", "error", "ledger"])
    found = back(tmp_path, **empty, notes=(), output=torch.ones(2))
    assert [getattr(found, name) for name in empty] == [None] * 4


@pytest.mark.parametrize("name", sorted(pl.methods()))
def test_every_registered_method_comes_back(tmp_path: Path, name: str) -> None:
    assert back(tmp_path, method=method.named(name)).method == method.named(name)


def test_equality_sees_every_field_but_the_seconds() -> None:
    made = explanation()
    assert made == explanation(seconds=9.0)
    changes = {
        "values": torch.zeros(2, 2),
        "inputs": (torch.ones(2, 2),),
        "output": None,
        "score": torch.tensor([1.0, 2.5]),
        "target": Target.of(1),
        "method": pl.Saliency(),
        "baseline": None,
        "completeness": None,
        "error": None,
        "evaluations": Evaluations(3, 2, 2),
        "notes": (),
        "ledger": None,
    }
    assert all(made != explanation(**{name: value}) for name, value in changes.items())
    assert made != explanation(values=made.values.double())


shapes = st.lists(st.integers(0, 3), max_size=4)
tensors = st.builds(
    lambda shape, dtype, seed: (
        torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 9
    ).to(dtype),
    shapes, st.sampled_from(DTYPES), st.integers(0, 99),
)  # fmt: skip
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
outputs = st.recursive(
    tensors | plain,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(
            st.text(max_size=4) | st.integers() | st.tuples(st.text()), inner, max_size=3
        )
    ),
    max_leaves=8,
)
within = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@within
@given(output=outputs)
def test_an_output_of_any_nesting_comes_back(tmp_path: Path, output: Any) -> None:
    assert same(back(tmp_path, output=output).output, output)


@within
@given(values=st.lists(tensors, min_size=1, max_size=3), named=st.booleans())
def test_values_of_any_shape_and_type_come_back(
    tmp_path: Path, values: list[Tensor], named: bool
) -> None:
    packed = {f"x.{i}": v for i, v in enumerate(values)} if named else tuple(values)
    assert same(back(tmp_path, values=packed).values, packed)


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.T,
        lambda x: x[:, ::2],
        lambda x: x[:1].expand(4, 4),
        lambda x: x.requires_grad_(),
        lambda x: torch.nn.Parameter(x),
        lambda x: torch.complex(x, -x).conj(),
        lambda x: torch.complex(x, x).conj().imag,
        lambda x: x.share_memory_(),
        lambda x: x.to(memory_format=torch.contiguous_format)[3, 3],
    ],
)
def test_any_view_comes_back_as_plain_numbers(tmp_path: Path, view: Callable) -> None:
    values = view(torch.randn(4, 4))
    found = back(tmp_path, values=values).values
    assert torch.equal(found, values)
    assert not found.requires_grad
    assert type(found) is Tensor


def test_tensors_that_share_memory_are_stored_once(tmp_path: Path) -> None:
    large = torch.randn(100, 100)
    alone = back(tmp_path, values=large, output=None).save(tmp_path / "e.safetensors").stat()
    found = back(tmp_path, values=large, inputs=large, output=(large, large.view(50, 200), large.T))
    assert (tmp_path / "e.safetensors").stat().st_size < alone.st_size + 2 * large.nbytes + 2000
    assert torch.equal(found.output[2], large.T)


def test_paths_of_tensors_that_look_alike_are_kept_apart(tmp_path: Path) -> None:
    output = {"a.b": torch.zeros(1), "a": {"b": torch.ones(1), "c d": torch.ones(2)}, "": {}}
    output |= {"a_b": torch.ones(3), "a b": torch.ones(4), "__metadata__": torch.ones(5)}
    assert same(back(tmp_path, output=output).output, output)


def test_arrays_and_odd_containers_come_back(tmp_path: Path) -> None:
    point = namedtuple("point", "x y")
    big = np.arange(6.0).astype(">f8").reshape(2, 3)[:, ::-1]
    output = [np.float32(0.1), np.int64(3), np.bool_(True), 2 - 1j, {1, 2}, frozenset("ab"), big]
    output += [torch.float16, torch.device("cpu"), torch.Size([2, 3]), float("-inf")]
    output += [OrderedDict(a=1), point(1, torch.ones(1)), np.array(3), Evaluations(1)]
    found = back(tmp_path, output=output).output
    assert found[:6] == output[:6]
    assert np.array_equal(found[6], big)
    assert found[7:12] == output[7:12]
    assert same(found[12], (1, torch.ones(1)))
    assert found[13:] == output[13:]
    assert isinstance(found[14], Evaluations)


def test_a_method_comes_back_with_all_its_options(tmp_path: Path, foreign: type[Method]) -> None:
    options = {
        "inner": foreign(inner=pl.Saliency(reduce="absolute"), scale=pl.Baseline.blur(0.3)),
        "scale": {"alpha": (0.1, 1e-300), 3: pl.Baseline.of(torch.randn(3, 2))},
    }
    found = back(tmp_path, method=foreign(**options, cache=object())).method
    assert isinstance(found, Foreign)
    assert (found.inner, found.scale, found.cache) == (options["inner"], options["scale"], None)


def test_rules_and_composites_come_back(tmp_path: Path) -> None:
    for composite in COMPOSITES.values():
        assert back(tmp_path, method=pl.LRP(composite=composite)).method.composite == composite
    for rule in (pl.rules.Epsilon(epsilon=0.25), pl.rules.Flat(), Halved(by=3.0)):
        assert back(tmp_path, method=pl.LRP(rules=rule)).method.rules == rule


def test_a_rule_that_the_program_does_not_define_is_named(tmp_path: Path) -> None:
    node = {"object": ["somewhere.rules.Halved", {"by": 3.0}]}
    path = tampered(tmp_path / "e", lambda record: record["fields"].update(output=node))
    with pytest.raises(UnknownNameError, match=r"got 'somewhere.rules.Halved'. Import the module"):
        pl.load(path)


@pytest.mark.parametrize("name", sorted(pl.methods()))
def test_a_real_explanation_comes_back(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(2, 3),
    )
    x = torch.randn(2, 1, 4, 4)
    made = pl.explain(net, x, ready(name, net, x), on_incomplete="ignore")
    assert pl.load(made.save(tmp_path / "e.safetensors")) == made


def test_a_callable_target_comes_back_by_name(tmp_path: Path) -> None:
    found = back(tmp_path, target=Target.of(lambda output: output[:, 0]))
    assert "lambda" in found.target.name
    with pytest.raises(TargetError, match="must be passed again as a callable"):
        found.target.score(torch.ones(2, 2), torch.ones(2, 2))


def test_another_process_reads_the_same(tmp_path: Path) -> None:
    made = explanation()
    path = made.save(tmp_path / "e.safetensors")
    code = """
import sys
import pellucid as pl
found = pl.load(sys.argv[1])
print(repr(found))
found.save(sys.argv[2])
"""
    again = tmp_path / "again.safetensors"
    command = [sys.executable, "-c", code, str(path), str(again)]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == repr(made)
    assert pl.load(again) == made


def test_a_loaded_explanation_does_not_depend_on_its_file(tmp_path: Path) -> None:
    path = explanation().save(tmp_path / "e.safetensors")
    found = pl.load(path)
    path.write_bytes(bytes(path.stat().st_size))
    assert found == explanation()


# -- what is refused


def test_saving_what_cannot_be_stored_names_it_all(tmp_path: Path, foreign: type[Method]) -> None:
    options = {"inner": lambda x: x, "scale": torch.ones(2).to_sparse()}
    made = explanation(method=foreign(**options), output={"odd": object()})
    with pytest.raises(
        InputError, match=r"made of tensors.*output.odd.*method.inner.*method.scale"
    ):
        made.save(tmp_path / "e.safetensors")
    assert os.listdir(tmp_path) == []
    assert made == made  # it still equals itself
    assert made != explanation(method=foreign(**options), output={"odd": object()})


def test_a_method_that_is_not_registered_is_not_stored(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"got {'method': Foreign.*@pellucid.register"):
        explanation(method=Foreign()).save(tmp_path / "e.safetensors")


def test_a_method_that_is_not_known_is_named(tmp_path: Path, foreign: type[Method]) -> None:
    path = explanation(method=foreign()).save(tmp_path / "e.safetensors")
    method._REGISTRY.known.pop("foreign")
    with pytest.raises(UnknownNameError, match=r"got 'foreign'.*Import the module"):
        pl.load(path)


def test_saving_into_nowhere_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"The folder of .* must exist.* Make it: mkdir"):
        explanation().save(tmp_path / "missing" / "e.safetensors")


@pytest.mark.parametrize("step", ["save_file", "replace"])
def test_a_failure_half_way_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = explanation().save(tmp_path / "e.safetensors")

    def fail(tensors: Any, part: Path, **_: Any) -> None:
        (tmp_path / "written").touch() if step == "replace" else part.write_bytes(b"half")
        raise OSError("No space left on device")

    place = archive if step == "save_file" else os
    monkeypatch.setattr(place, step, fail)
    with pytest.raises(FileError, match=r"can be written; got OSError: No space left.*Make room"):
        explanation(notes=()).save(path)
    assert {*os.listdir(tmp_path)} - {"written"} == {"e.safetensors"}
    assert pl.load(path) == explanation()


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    explanation().save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert pl.load(tmp_path / "real") == explanation()


def test_files_that_are_none_of_ours_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"got 'a path where there is none'. Check the name"):
        pl.load(tmp_path / "missing")
    with pytest.raises(FileError, match="must be a file of an explanation that pellucid saved"):
        pl.load(tmp_path)
    other = tmp_path / "other"
    save_file({"weight": torch.ones(2)}, other)
    with pytest.raises(FileError, match=r"a safetensors file of something else"):
        pl.load(other)
    other.write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(FileError, match=r"got SafetensorError.*Make it with explanation.save"):
        pl.load(other)


@settings(within, max_examples=25)
@given(fraction=st.floats(0, 0.999))
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, fraction: float) -> None:
    whole = explanation().save(tmp_path / "e.safetensors").read_bytes()
    cut = tmp_path / "cut"
    cut.write_bytes(whole[: int(fraction * len(whole))])
    with pytest.raises(FileError, match="must be a file of an explanation that pellucid saved"):
        pl.load(cut)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tampered(tmp_path / "e", lambda record: record.update(format=2))
    with pytest.raises(FileError, match=r"must have format 1; got 2. It was saved by pellucid 0;"):
        pl.load(path)


def test_fields_that_are_not_in_the_file_get_their_default(tmp_path: Path) -> None:
    path = tampered(tmp_path / "e", lambda record: record["fields"].pop("notes"))
    assert pl.load(path) == explanation(notes=())


def test_a_field_that_is_not_known_is_named(tmp_path: Path) -> None:
    path = tampered(tmp_path / "e", lambda record: record["fields"].update(note="x"))
    with pytest.raises(UnknownNameError, match=r"A field of Explanation .* Did you mean 'notes'"):
        pl.load(path)


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "subprocess.Popen",
        "this.s",
        "pellucid.__main__.main",
        "pellucid.method.os",
        "pellucid.method.explain",
        "pellucid.method.Method",
        "pellucid.program.Program",
        "pellucid.errors.FileError",
        "pellucid.explanation.Tensor",
        "pellucid..method.Method",
        "pellucid.missing.Thing",
        "pellucid.method.subprocess.Popen",
        "Target",
        "",
    ],
)
def test_a_hostile_file_runs_nothing(tmp_path: Path, path: str) -> None:
    before = set(sys.modules)
    file = tampered(tmp_path / "e", lambda r: r["fields"].update(output={"object": [path, {}]}))
    with pytest.raises((UnknownNameError, FileError)):
        pl.load(file)
    assert all(name.startswith("pellucid") for name in set(sys.modules) - before)


@pytest.mark.parametrize(
    "node",
    [
        {"object": ["pellucid.target.Target", {"kind": {"tensor": "missing"}}]},
        {"object": ["pellucid.explanation.Evaluations", {"forward": {}}]},
        {"method": ["saliency", {"reduce": "cubed"}]},
        {"tensor": "missing"},
        {"tensor": ["values"]},
        {"same": 1, "tuple": []},
        {"unknown": 1},
        {"dict": [[[], 1]]},
        {"dict": 3},
        {"dtype": "Tensor"},
        {"dtype": "load"},
        {"device": "nowhere"},
        {"array": 3},
        {"complex_tensor": "target"},
        {"complex": ["1", "2"]},
    ],
)
def test_a_damaged_value_is_refused(tmp_path: Path, node: Any) -> None:
    path = tampered(tmp_path / "e", lambda record: record["fields"].update(output=node))
    with pytest.raises((FileError, UnknownNameError)):
        pl.load(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "[" * 100_000, '{"format": 1}'])
def test_damaged_json_is_refused(tmp_path: Path, text: str) -> None:
    save_file({}, tmp_path / "e", {"pellucid": text})
    with pytest.raises(FileError, match="must hold an explanation, and all of it"):
        pl.load(tmp_path / "e")


@pytest.mark.parametrize("name", ["score", "target", "method"])
def test_a_field_of_the_wrong_kind_is_refused(tmp_path: Path, name: str) -> None:
    path = tampered(tmp_path / "e", lambda record: record["fields"].update({name: None}))
    with pytest.raises(FileError, match=f"{name} is not a"):
        pl.load(path)
