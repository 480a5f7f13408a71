"""What all drawings share: the colors of ink and paper, and the strip that says the scale."""

from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize

from pellucid.plot.color import COLORS, MINUS, number, table
from pellucid.plot.map import Map

INK = {False: "#1c1e21", True: "#e8e6e3"}
PAPER = {False: "#ffffff", True: "#16181b"}


def colormap(dark: bool) -> ListedColormap:
    """The color table as matplotlib takes it."""
    rows = table(dark) / 255
    name = "pellucid-dark" if dark else "pellucid"
    return ListedColormap(rows[:COLORS], name=name, bad=rows[COLORS])


def norm(shown: Map) -> Normalize:
    """The scale of a map as matplotlib takes it."""
    return Normalize(-shown.scale.span, shown.scale.span)


def legend(shown: Map, ax: Axes, dark: bool, *, below: float, tall: float = 0.035) -> None:
    """A strip of the colors with its two ends, zero, and where the scale comes from.

    Its place `below` the axes and its height are fractions of their height.
    """
    strip = ax.inset_axes((0.0, below, 1.0, tall))
    strip.imshow(table(dark)[None, :COLORS], aspect="auto", extent=(-1, 1, 0, 1))
    limit = number(shown.scale.span)
    strip.set_xticks([-1, 0, 1], [f"{MINUS}{limit}", "0", f"+{limit}"], fontsize=8)
    low, _, high = strip.get_xticklabels()
    low.set_horizontalalignment("left")
    high.set_horizontalalignment("right")
    strip.set_yticks([])
    strip.set_xlabel("\n".join(shown.caption()), fontsize=8, labelpad=1)
    ink(strip, dark)


def ink(ax: Axes, dark: bool) -> None:
    """Draw the frame, its numbers and words in the color of ink."""
    ax.tick_params(colors=INK[dark], labelcolor=INK[dark], length=2)
    ax.xaxis.label.set_color(INK[dark])
    ax.yaxis.label.set_color(INK[dark])
    ax.set_facecolor(PAPER[dark])
    for spine in ax.spines.values():
        spine.set_edgecolor(INK[dark])
        spine.set_linewidth(0.5)
