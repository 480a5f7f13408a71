"""A table: from the mean answer to that for one patient, and the same for many.

Shows the Shapley values of a forest that foretells how diabetes goes on: for one patient as a
waterfall from the mean answer to hers, for 80 as a beeswarm, each point in the color of what the
patient has in that column, and as mean sizes with their standard errors.
Misleads where columns say nearly the same, as the six blood values (s1 to s6) do: the forest can
read either, and they share what they have in common. No value says what would happen to a patient
whose weight changed.
"""

from _panels import save
from matplotlib.figure import Figure
from sklearn.datasets import load_diabetes
from sklearn.ensemble import RandomForestRegressor

import pellucid as pl

PATIENTS, BACKGROUND, PATIENT = 80, 20, 4

table, progress = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
told, seen = table[: PATIENTS + BACKGROUND], table[PATIENTS + BACKGROUND :]
forest = RandomForestRegressor(20, min_samples_leaf=5, random_state=0, n_jobs=1)
forest.fit(seen, progress[len(told) :])

background = told[PATIENTS:]
found = pl.explain(forest, told[:PATIENTS], "kernel_shap", baseline=background, samples=150)

figure = Figure(figsize=(13, 8.5), dpi=100, layout="constrained", facecolor="white")
(upper_left, upper_right), (lower_left, lower_right) = figure.subplots(2, 2)
pl.plot.waterfall(found, PATIENT, upper_left, most=7, title="one patient: waterfall")
pl.plot.force(found, upper_right, row=PATIENT, most=7, title="the same patient: forces")
pl.plot.beeswarm(found, lower_left, title=f"{PATIENTS} patients: beeswarm")
pl.plot.bar(found, lower_right, title=f"{PATIENTS} patients: mean sizes")
save(figure, "contributions")

parts = pl.plot.Parts.of(found, row=PATIENT)
held_out = forest.score(told, progress[: len(told)])
print(f"the forest explains {held_out:.0%} of the variance of patients it has not seen")
print(f"patient {PATIENT}: from {parts.base:.0f} to {parts.score:.0f}; {found.evaluations}")
for i in parts.order[:3]:
    print(f"{parts.names[i]}: {parts.values[i]:+.1f} ± {parts.errors[i]:.2g}")
blood = [f"s{i}" for i in (1, 2)]
print(f"correlation of {' and '.join(blood)}: {table[blood].corr().iloc[0, 1]:.2f}")
