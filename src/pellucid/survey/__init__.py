"""A survey of a model: its layers, what excites single channels of them, and what classes are."""

from pellucid.survey.survey import survey
from pellucid.survey.views import ClassView, LayerView, Survey, UnitView

__all__ = ["ClassView", "LayerView", "Survey", "UnitView", "survey"]
