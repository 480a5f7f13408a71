"""Which explanation can be trusted here? Methods judged side by side on the data of a user."""

from pellucid.evaluate.leaderboard.board import Entry, Leaderboard, Standing
from pellucid.evaluate.leaderboard.run import leaderboard

__all__ = ["Entry", "Leaderboard", "Standing", "leaderboard"]
