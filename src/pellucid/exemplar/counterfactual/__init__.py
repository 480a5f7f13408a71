"""Counterfactuals: the smallest change of an input that changes what the model decides.

constraints.py  what must hold of a counterfactual, in the user's columns
grid.py         the numbers that a column can hold
space.py        where a search may go: exact projection onto the constraints, and the check
build.py        a space made of constraints, the inputs and data
distance.py     how far changes go, the nearest so far, and whether real data are near
goal.py         what the model must say
oracle.py       the model asked, with a budget
linear.py       the nearest point on the other side of a linear model
gradient.py     search along gradients
growing.py      search without gradients
polish.py       fewer and smaller changes, that still decide
diverse.py      several answers that differ
scaling.py      columns that a network gets standardised
code.py         search in the codes of a generator
result.py       what was found
take.py         what a user has, taken apart: model, rows, and the way back
notes.py        what a user has to know of a search
find.py         the search as a whole
"""

from pellucid.exemplar.counterfactual.constraints import Constraints
from pellucid.exemplar.counterfactual.find import counterfactual
from pellucid.exemplar.counterfactual.result import Counterfactuals

__all__ = ["Constraints", "Counterfactuals", "counterfactual"]
