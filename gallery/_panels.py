"""What the scripts share: where their files are, and maps side by side under their own titles."""

from pathlib import Path

from matplotlib.figure import Figure

import pellucid as pl

PHOTOS = Path(__file__).parent / "photos"
PICTURES = Path(__file__).parent / "pictures"

# In inches: a map of 224 pixels is drawn pixel by pixel, with its legend below it.
SIDE, GAP, ABOVE, BELOW, DPI = 2.24, 0.25, 0.4, 0.75, 100


def panels(*rows, picture=None, smooth_overlay=0.8, **options):
    """Draw rows of maps, each a dict of title: explanation, beside the picture they belong to."""
    first = 0 if picture is None else 1
    columns = first + max(len(row) for row in rows)
    width, height = columns * (SIDE + GAP) + GAP, len(rows) * (SIDE + ABOVE + BELOW)
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")

    def axes(line, column):
        left, top = GAP + column * (SIDE + GAP), ABOVE + line * (SIDE + ABOVE + BELOW)
        return figure.add_axes(
            (left / width, 1 - (top + SIDE) / height, SIDE / width, SIDE / height)
        )

    if picture is not None:
        shown = axes(0, 0)
        shown.imshow(picture)
        shown.set_title("input", fontsize=10)
        shown.set_axis_off()
    for line, row in enumerate(rows):
        for column, (title, explanation) in enumerate(row.items(), first):
            # Smooth maps, which have no pixels of their own, lie on the picture.
            overlay = smooth_overlay if explanation.method.smooth else "auto"
            pl.plot.draw(
                explanation,
                axes(line, column),
                title=title,
                overlay=overlay,
                picture=picture,
                **options,
            )
    return figure


def save(figure, name):
    """Write a picture of the gallery, and say where it is."""
    PICTURES.mkdir(exist_ok=True)
    path = PICTURES / f"{name}.webp"
    # Exact like PNG, and for maps as restless as these a half of its size.
    figure.savefig(path, pil_kwargs={"lossless": True, "quality": 100})
    print(f"drew gallery/pictures/{path.name}")
