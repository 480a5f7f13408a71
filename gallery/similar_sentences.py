"""Text: which words make two sentences alike?

Shows one value for each token, read where the model looks up its embedding. The explained score is
the cosine of the sentence to another one.
Misleads where tokens work together. Hiding each token in turn, which costs a run of the model
each, is the plain test: the gradient at the sentence itself disagrees with it even in sign.
"""

import torch
from _panels import save

import pellucid as pl

METHODS = [pl.Saliency(reduce="absolute"), pl.GradientXInput(), pl.IntegratedGradients()]
ANCHOR = "A kitten rests on the rug."

entry = pl.zoo.load("minilm")
inputs = entry.encode("The cat sat on the mat while stock markets fell sharply.")
tokens = entry.tokens(inputs["input_ids"])

similarity = entry.similarity(ANCHOR)
found = pl.compare(entry.model, inputs, METHODS, target=similarity)
save(pl.plot.grid(found, tokens=[tokens], columns=1), "similar_sentences")

mask = entry.tokenizer.token_to_id("[MASK]")
hidden = inputs["input_ids"].repeat(len(tokens), 1).fill_diagonal_(mask)
drops = found[0].score - similarity(entry.model(hidden))
print(f"cosine to {ANCHOR!r}: {found[0].score.item():.2f}")
for each in found:
    values = each.values["input_ids"][0]
    strongest = ", ".join(f"{tokens[i]} {values[i]:+.3f}" for i in values.abs().topk(3).indices)
    agreement = torch.corrcoef(torch.stack([values, drops]))[0, 1]
    print(f"{each.method}: {strongest}; correlation with hiding each token {agreement:.2f}")
