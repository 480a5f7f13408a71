"""A text convolution net: which words of a review speak for five stars?

Shows a value for each word and each sentence. The net (Kim 2014) is trained here on 4,000 food
reviews. It keeps the best match of each of its filters of one to three words, so that few words
count, and without these the net changes its mind (Arras et al. 2016). Here LRP is gradient x input
but for the biases: the net is shallow, and nothing is shattered.
Misleads if values are read as opinions on words: a word counts as the piece that it is part of,
and some do what no reader would expect.
"""

import torch
from _panels import save
from _reviews import CLASSES, PADDING, changed_minds, encode, fit, reviews
from _texts import draw_texts, told
from _training import accuracy
from torch import nn

import pellucid as pl

COUNTS = (1, 3, 5)


class TextCNN(nn.Module):
    """Filters of one, two and three words, and the strongest match of each in the text."""

    def __init__(self, size, width=48, filters=48):
        super().__init__()
        self.embedding = nn.Embedding(size, width, padding_idx=PADDING)
        self.filters = nn.ModuleList(
            nn.Conv1d(width, filters, words, padding=words // 2) for words in (1, 2, 3)
        )
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(3 * filters, len(CLASSES)))

    def forward(self, ids):
        """Scores of shape (batch, class) for ids of shape (batch, word)."""
        signal = self.embedding(ids).transpose(1, 2)
        return self.head(torch.cat([f(signal).relu().amax(2) for f in self.filters], 1))


model = fit(TextCNN, epochs=6)
texts, classes = reviews("testing")
ids = encode(texts)
print(
    f"{accuracy(model, ids, classes):.0%} of {len(ids)} held-out reviews right; "
    f"{(classes == 1).float().mean():.0%} have five stars"
)

rows = []
for i in (76, 36):
    k, right, words = int(model(ids[i : i + 1]).argmax()), CLASSES[classes[i]], [texts[i]]
    found = pl.explain(model, encode(words), "lrp", target=(k, 1 - k), composite="epsilon")
    by_word, by_sentence = found.group(words), found.group(words, by="sentence")
    title = f"what speaks for “{CLASSES[k]}”, where “{right}” is right"
    rows.append({title: by_word, "by sentence": by_sentence})
    print(
        f"{CLASSES[k]} by {found.score.item():.2f}; values sum to {found.values.sum():.2f}; "
        f"strongest words: {told(by_word.top())}"
    )
save(draw_texts(*rows), "text_cnn")

torch.manual_seed(0)
print(f"another class without the {COUNTS} words of the largest values:")
for name in ("lrp", "gradient_x_input", "saliency", "at random"):
    options = {"composite": "epsilon"} if name == "lrp" else {}
    values = torch.rand(ids.shape)
    if name != "at random":
        values = pl.explain(model, ids, name, target=(1, 0), **options).values
    shares = changed_minds(model, ids, values, COUNTS)
    print(f"{name}: " + ", ".join(f"{share:.0%}" for share in shares) + " of the reviews")
