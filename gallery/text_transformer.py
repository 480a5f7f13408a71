"""A transformer: which words, and which sentence, make a text like another?

Shows relevance that went back through the six layers of a stock BERT of Hugging Face (MiniLM) by
the rules of AttnLRP (Achtibat et al. 2024), summed over the pieces of each word and each sentence.
Hiding each word in turn, which costs a run of the model each, is the plain test: relevance agrees
with it, and so it does where attention weights are gates; gradients do not.
Misleads if it is taken for all of the score: biases keep a part, and so does the softmax of
attention. And neither it nor hiding one word shows what two of them say together.
"""

import torch
from _panels import save
from _texts import draw_texts, told

import pellucid as pl

METHODS = {
    "AttnLRP": pl.LRP(composite="attnlrp"),
    "LRP, attention weights are gates": pl.LRP(composite="epsilon"),
    "gradient x input": pl.GradientXInput(),
    "integrated gradients": pl.IntegratedGradients(),
}
ANCHOR = "A kitten sleeps on the rug."
TEXT = "Our tabbycat snoozed on the doormat all day. Stock markets fell sharply. He didn't care."

entry = pl.zoo.load("minilm")
inputs = entry.encode(TEXT)
read = entry.tokenizer.encode(TEXT)
words = pl.words.Grouping.of(read.tokens, texts=TEXT, offsets=read.offsets)
sentences = pl.words.Grouping.of(read.tokens, "sentence", texts=TEXT, offsets=read.offsets)

similarity = entry.similarity(ANCHOR)
by_word, by_sentence = {}, {}
for name, method in METHODS.items():
    found = method(entry.model, inputs, target=similarity, on_incomplete="ignore")
    by_word[name], by_sentence[name] = found.group(words), found.group(sentences)
first, *_, gradient, integrated = METHODS
save(
    draw_texts(
        {first: by_word[first], f"{first}, by sentence": by_sentence[first]},
        {gradient: by_word[gradient], integrated: by_word[integrated]},
    ),
    "text_transformer",
)

members = torch.tensor(words.members[0])
numbers = torch.arange(members.max() + 1)[:, None]
hidden = inputs["input_ids"].masked_fill(members == numbers, entry.tokenizer.token_to_id("[MASK]"))
drops = found.score - similarity(entry.model(hidden))
print(f"cosine to {ANCHOR!r}: {found.score.item():.2f}")
for name, each in by_word.items():
    values = each.values["input_ids"][0]
    agreement = torch.corrcoef(torch.stack([values, drops]))[0, 1]
    print(
        f"{name}: sums to {values.sum():.2f}; {told(each.top(4))}; "
        f"correlation with hiding each word {agreement:.2f}"
    )
print(f"{first}, by sentence: {told(by_sentence[first].top(3))}")
