"""Tokens, words and sentences: the marks of tokenizers, and values for what a reader reads."""

from pellucid.words.grouping import Grouping, Unit, group

__all__ = ["Grouping", "Unit", "group"]
