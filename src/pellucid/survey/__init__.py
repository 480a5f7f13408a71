"""A survey of a model: its layers, what excites single channels of them, and what classes are."""

# ruff: noqa: F401  # what is imported for the type checker alone is public

from typing import TYPE_CHECKING

from pellucid.lazy import lazily

if TYPE_CHECKING:
    from pellucid.survey.survey import survey
    from pellucid.survey.views import ClassView, LayerView, Survey, UnitView

# Public name -> the module of this room it lives in: a page needs what was found alone.
__all__ = lazily(__name__, {  # noqa: PLE0605  # a sorted list is a list
    "ClassView": "views",
    "LayerView": "views",
    "Survey": "views",
    "UnitView": "views",
    "survey": "survey",
})  # fmt: skip
