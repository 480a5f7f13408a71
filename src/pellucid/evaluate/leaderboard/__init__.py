"""Which explanation can be trusted here? Methods judged side by side on the data of a user."""

from pellucid.evaluate.leaderboard.board import Entry, Leaderboard, Standing
from pellucid.evaluate.leaderboard.run import leaderboard
from pellucid.evaluate.leaderboard.samples import Samples

__all__ = ["Entry", "Leaderboard", "Samples", "Standing", "leaderboard"]
