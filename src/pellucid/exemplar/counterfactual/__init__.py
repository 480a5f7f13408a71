"""Counterfactuals: the smallest change of an input that changes what the model decides.

constraints.py  what must hold of a counterfactual, in the user's columns
columns.py      the names that constraints use, found among the columns
space.py        where a search may go: exact projection onto the constraints, and the check
build.py        a space made of constraints, the inputs and data
distance.py     how far a changed input is from the one it was
goal.py         what the model must say
oracle.py       the model asked, with a budget
linear.py       the nearest point on the other side of a linear model
gradient.py     search along gradients
growing.py      search without gradients
polish.py       fewer and smaller changes, that still decide
diverse.py      several answers that differ
scaling.py      columns that a network gets standardised
code.py         search in the codes of a generator
plausible.py    whether an answer looks like real data
result.py       what was found
find.py         the search as a whole
"""

from pellucid.exemplar.counterfactual.constraints import Constraints
from pellucid.exemplar.counterfactual.find import counterfactual
from pellucid.exemplar.counterfactual.result import Counterfactuals

__all__ = ["Constraints", "Counterfactuals", "counterfactual"]
