"""LIME on reviews of food: the words that two sparse models read, and the reviews worth reading.

Shows that ten words are enough to find nearly all that a model with few weights, or a shallow
tree, reads of a review (the recall of gold features of the paper, which has 92 to 97 % on books),
and which three reviews, chosen by SP-LIME, show most of what the model knows.
Misleads where a word is there twice: each of the two changes nothing while the other stays, so here
every word counts once. The errors are those of the draws, not of the model.
"""

import warnings

import torch
from _panels import save
from _reviews import reviews
from matplotlib.figure import Figure
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

import pellucid as pl


def once(words):
    """A text of the words, each where it is first."""
    return " ".join(dict.fromkeys(word for word in words if word.isalpha()))


texts, classes = reviews("training")
texts, given = [once(words) for words in texts], [once(words) for words in reviews("testing")[0]]
given = [text for text in given if len(text.split()) >= 20][:40]
models = {
    "regression": LogisticRegression(
        penalty="l1", solver="liblinear", C=0.04, tol=1e-8, random_state=0
    ),
    "tree": DecisionTreeClassifier(max_depth=6, min_samples_leaf=10, random_state=0),
}
for name, sparse in models.items():
    model = make_pipeline(CountVectorizer(binary=True, token_pattern="[a-z]+"), sparse)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(texts, classes.numpy())
    names = model[0].get_feature_names_out()
    found = pl.explain(model, given, "lime", k=10, samples=1000)
    shares = []
    for row, vector in enumerate(model[0].transform(given)):
        if name == "tree":
            features = sparse.tree_.feature[sparse.decision_path(vector).indices]
            read = set(names[features[features >= 0]])
        else:
            read = set(names[sparse.coef_[0] != 0])
        gold = read & set(names[vector.nonzero()[1]])
        told = found[row].players[0].nonzero().squeeze(1).tolist()
        told = {found.features.named(row)[place] for place in told}
        shares += [(len(gold & told) / len(gold), len(gold))] if gold else []
    recall, size = torch.tensor(shares).mean(0)
    print(f"{name}: recall of the words it reads {recall:.0%}; they are {size:.1f} a review")
    print(f"  local fidelity (R2) {found.evidence['fidelity'].mean():.2f} on average")
    if name == "regression":
        pick = pl.submodular_pick(found, 3)
        covered = ", ".join(f"{share:.0%}" for share in pick.coverage)
        print(f"  reviews {pick.rows} show {covered} of the importance of all words")
        figure = Figure(figsize=(7.4, 7.2), layout="constrained", facecolor="white")
        for place, row in enumerate(pick.rows):
            pl.plot.bar(found, row=row, ax=figure.add_subplot(3, 1, place + 1), most=8)

save(figure, "lime_words")
