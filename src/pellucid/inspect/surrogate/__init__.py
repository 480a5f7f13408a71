"""Global surrogates: a small model that one can read, fitted to the answers of one that one cannot.

columns.py    the table that is read: its columns, and the numbers that conditions are put to
conditions.py one test of one number, in words; conjunctions of them
trees.py      decision trees, grown best first
rules.py      ordered lists of if-then rules, found one by one
search.py     the search for the next rule
lines.py      sparse linear models on the lasso's path
answers.py    what the model says of the data
fidelity.py   how close the surrogate comes, and what comes close without reading anything
surrogate.py  what was fitted
fit.py        the fit
words.py      the surrogate as text
file.py       surrogates as files
"""

from pellucid.inspect.surrogate.fit import fit_surrogate
from pellucid.inspect.surrogate.surrogate import Surrogate

__all__ = ["Surrogate", "fit_surrogate"]
