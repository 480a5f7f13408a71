"""What a model that reads text comes with: the way from sentences to its inputs, and back."""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import InputError

# A longer text is cut in the name of a target.
LONGEST = 60


@dataclass(frozen=True, kw_only=True, eq=False)
class TextEntry:
    """A sentence encoder, and what is needed to show it text and to read its answer.

    `model(input_ids, attention_mask)` gives one vector of length one for each text, of shape
    (batch, feature), so that the product of two of them is their cosine.

        entry = pellucid.zoo.load("minilm")
        inputs = entry.encode("The cat sat on the mat.")
        entry.model(**inputs)                              # (1, feature)
        entry.tokens(inputs["input_ids"])                  # ["[CLS]", "the", "cat", ...]
        entry.similarity("A kitten lies on the rug.")      # a target: (batch, feature) -> (batch,)
    """

    name: str
    model: Callable[..., Any]
    tokenizer: Any
    most_tokens: int
    source: str = ""
    license: str = ""

    def encode(self, texts: str | Sequence[str]) -> dict[str, Tensor]:
        """Make `input_ids` and `attention_mask`, both of shape (batch, token).

        Shorter texts are padded to the longest; the mask is 1 on tokens and 0 on padding.
        """
        given = [texts] if isinstance(texts, str) else texts
        strings = isinstance(given, Sequence) and all(isinstance(text, str) for text in given)
        if not strings or not given:
            raise InputError("`texts` must be a string, or a list of strings", got=texts)
        encoded = self.tokenizer.encode_batch(list(given))
        self._check_length(given, [len(each) for each in encoded])
        # Padded here, so that the tokenizer keeps no setting from one call to the next.
        length = max(len(each) for each in encoded)
        ids = torch.full((len(encoded), length), self._padding)
        mask = torch.zeros_like(ids)
        for row, each in enumerate(encoded):
            ids[row, : len(each)] = torch.tensor(each.ids)
            mask[row, : len(each)] = 1
        return {"input_ids": ids, "attention_mask": mask}

    def tokens(self, ids: Tensor) -> list[str]:
        """The tokens of one text, for ids of shape (token,) or (1, token)."""
        if not isinstance(ids, Tensor):
            raise InputError(
                "`ids` must be a tensor",
                got=ids,
                hint='Encode a text first: entry.tokens(entry.encode(text)["input_ids"]).',
            )
        row = ids[0] if ids.ndim == 2 and len(ids) == 1 else ids
        if row.ndim != 1:
            raise InputError(
                "`ids` must have shape (token,) or (1, token)",
                got=ids,
                hint="Take one text of a batch: ids[0].",
            )
        return [self._token(int(number)) for number in row]

    def similarity(self, text: str) -> Callable[[Tensor], Tensor]:
        """A target: the cosine of each text of the batch to this one, of shape (batch,)."""
        if not isinstance(text, str):
            raise InputError("`text` must be one string", got=text)
        with torch.no_grad():
            anchor = self.model(**self.encode(text))[0]

        def cosine(output: Tensor) -> Tensor:
            return output @ anchor.to(output)

        cosine.__qualname__ = f"cosine to “{textwrap.shorten(text, LONGEST, placeholder='…')}”"
        return cosine

    @property
    def _padding(self) -> int:
        return int(self.tokenizer.token_to_id("[PAD]"))

    def _token(self, number: int) -> str:
        token = self.tokenizer.id_to_token(number)
        if token is None:
            most = self.tokenizer.get_vocab_size() - 1
            raise InputError(f"A token must be from 0 to {most}", got=number)
        return str(token)

    def _check_length(self, texts: Sequence[str], lengths: Sequence[int]) -> None:
        """The rest of a longer text would be cut off, and get no relevance for no reason shown."""
        for text, length in zip(texts, lengths, strict=True):
            if length > self.most_tokens:
                raise InputError(
                    f"A text must have at most {self.most_tokens} tokens",
                    got=length,
                    hint=f"Split it, for example by sentences: {text[:40]}...",
                )

    def __repr__(self) -> str:
        return f"TextEntry({self.name!r}, at most {self.most_tokens} tokens)"
