"""An LSTM that reads a review: which words did it take to mind?

Shows relevance that went back through every gate of a stock `nn.LSTM`. A gate only decides how much
passes, so all of what a product gets goes to the signal, none to the gate (Arras et al. 2017). More
reviews get another class without the three or five words that LRP names than without those of
gradient x input, which saturated gates make small; for one word it is the other way about.
Integrated gradients do about as well as LRP, at the cost of many runs.
Misleads about order: "not" has its value where it stands, though it acts on what follows. Words get
large values of both signs that cancel. And they are no shares of the score: biases count against
it, or for it, so that those of the first review sum to three times its score.
"""

from _panels import save
from _reviews import CLASSES, PADDING, changed_minds, encode, fit, reviews
from _texts import draw_texts, told
from _training import accuracy
from torch import nn

import pellucid as pl

COUNTS, SOME = (1, 3, 5), 300


class TextLSTM(nn.Module):
    """A recurrent net; what it holds in mind, on average over the words, is the review."""

    def __init__(self, size, width=32, hidden=32):
        super().__init__()
        self.embedding = nn.Embedding(size, width, padding_idx=PADDING)
        self.lstm = nn.LSTM(width, hidden, batch_first=True)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(hidden, len(CLASSES))

    def forward(self, ids):
        """Scores of shape (batch, class) for ids of shape (batch, word)."""
        there = (ids != PADDING).unsqueeze(2)
        states, _ = self.lstm(self.dropout(self.embedding(ids)))
        return self.head(self.dropout((states * there).sum(1) / there.sum(1)))


model = fit(TextLSTM, epochs=10)
texts, classes = reviews("testing")
ids = encode(texts)
print(
    f"{accuracy(model, ids, classes):.0%} of {len(ids)} held-out reviews right; "
    f"{(classes == 1).float().mean():.0%} have five stars"
)

METHODS = {
    "LRP, gates pass": pl.LRP(composite="lstm"),
    "gradient x input": pl.GradientXInput(),
    "integrated gradients": pl.IntegratedGradients(),
}
rows = []
for i in (76, 36):
    k, right, words = int(model(ids[i : i + 1]).argmax()), CLASSES[classes[i]], [texts[i]]
    found = pl.compare(model, encode(words), list(METHODS.values())[:2], target=(k, 1 - k))
    names = list(METHODS)[:2]
    rows.append({name: each.group(words) for name, each in zip(names, found, strict=True)})
    print(f"{CLASSES[k]} by {found[0].score.item():.2f}, where {right} is right")
    for name, each in rows[-1].items():
        print(f"  {name} sums to {each.values.sum():.2f}; strongest words: {told(each.top())}")
save(draw_texts(*rows), "text_lstm")

print(f"another class without the {COUNTS} words of the largest values:")
some = ids[:SOME]
for name, method in METHODS.items():
    values = method(model, some, target=(1, 0), on_incomplete="ignore").values
    shares = changed_minds(model, some, values, COUNTS)
    print(f"{name}: " + ", ".join(f"{share:.0%}" for share in shares) + f" of {SOME} reviews")
