"""A name stands for one thing, is found with the nearest one, and takes options by their names."""

import sys
from dataclasses import dataclass

import pytest

import pellucid as pl
from pellucid.errors import InputError, UnknownNameError
from pellucid.evaluate import Metric, metrics, named_metric, register_metric
from pellucid.registry import Kinds, Registry


@dataclass(frozen=True, kw_only=True)
class Shape:
    size: float = 1.0
    corners: int = 4


class Square(Shape):
    """A kind of its own."""


def shapes() -> Kinds[Shape]:
    made: Kinds[Shape] = Kinds(what="shape", kind=Shape, hint='For example "square".')
    made.register("square")(Square)
    made.register("shape")(Shape)
    return made


def test_it_is_made_of_its_name_and_options():
    assert shapes().named("square", size=2.0) == Square(size=2.0)
    assert shapes().named(Square(size=3.0)) == Square(size=3.0)
    assert Square.name == "square"
    assert list(shapes().all()) == ["square", "shape"]


def test_what_is_handed_out_is_a_copy():
    made = shapes()
    made.all().clear()
    assert made.named("shape") == Shape()


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ("sqare", {}, r"^A shape must be one that exists; got 'sqare'. Did you mean 'square'\?$"),
        ("square", {"sise": 1}, r"^An option of square must .* got 'sise'. Did you mean 'size'\?$"),
        (Square(), {"size": 1}, r"^Options must be given to the shape itself .*; got size\.$"),
        (
            Square,
            {},
            r"^A shape must be a name, or made of its class; got Square. Pass Square\(\).$",
        ),
        (int, {}, r'^A shape must be a name, .*; got int. For example "square".$'),
        (None, {}, r'^A shape must be a name, .*; got None. For example "square".$'),
    ],
)
def test_what_cannot_be_made(given, options, message):
    with pytest.raises(InputError, match=message):
        shapes().named(given, **options)


def test_a_second_class_of_a_name_is_refused_and_the_first_stays():
    made = shapes()
    with pytest.raises(
        InputError,
        match=r"^A name must stand for one shape; got 'square' for tests\.test_registry\.Shape, "
        r"which is that of tests\.test_registry\.Square\. Register it under another name\.$",
    ):
        made.register("square")(Shape)
    assert made.find("square") is Square
    assert Shape.name == "shape"


def test_a_class_may_be_defined_again():
    """As a cell of a notebook is run twice."""
    made = shapes()
    again = type("Square", (Shape,), {"__module__": __name__, "__qualname__": "Square"})
    made.register("square")(again)
    assert made.find("square") is again


def test_functions_have_names_too_and_a_hint_says_what_else_there_is():
    made: Registry = Registry(what="model of the zoo")
    made.register("small")(shapes)
    assert made.find("small") is shapes
    with pytest.raises(UnknownNameError, match=r"^A model of the zoo .* 'smal'. Did .*\? Or so\.$"):
        made.find("smal", hint="Or so.")


def test_rooms_are_imported_before_a_name_is_looked_up(tmp_path, monkeypatch):
    """A module of a room is all that it takes; none is imported before."""
    room = tmp_path / "room_of_the_test"
    room.mkdir()
    (room / "__init__.py").write_text("SEEN = []\n")
    (room / "one.py").write_text("from pellucid.room_of_the_test import SEEN\nSEEN.append(1)\n")
    monkeypatch.setattr(pl, "__path__", [*pl.__path__, str(tmp_path)])
    made: Registry = Registry(what="thing", rooms=("room_of_the_test",))
    assert "pellucid.room_of_the_test" not in sys.modules
    for _ in range(2):
        assert made.all() == {}
    assert sys.modules["pellucid.room_of_the_test"].SEEN == [1]
    for name in ("", ".one"):
        monkeypatch.delitem(sys.modules, f"pellucid.room_of_the_test{name}")


@pytest.mark.parametrize(
    ("register", "known", "base"),
    [(pl.register, pl.methods, pl.Method), (register_metric, metrics, Metric)],
    ids=["methods", "metrics"],
)
def test_the_names_of_ours_cannot_be_taken(register, known, base):
    name, ours = next(iter(known().items()))
    with pytest.raises(InputError, match=f"{name!r} for .*Mine, which is that of pellucid"):
        register(name)(type("Mine", (base,), {}))
    assert known()[name] is ours


def test_a_metric_is_named_as_a_method_is():
    with pytest.raises(UnknownNameError, match=r"A metric .*'selectivty'. Did you .*'selectivity'"):
        named_metric("selectivty")
    with pytest.raises(InputError, match=r"A metric must be a name, .*; got None. See metrics\(\)"):
        named_metric(None)
    with pytest.raises(InputError, match=r"An option of aopc must be one that exists; got 'step'"):
        named_metric("aopc", step=3)
