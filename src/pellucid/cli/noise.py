"""`pellucid noise`: why the maps of a photograph look noisy."""

import click

from pellucid import choices
from pellucid.cli.options import model_option
from pellucid.cli.outputs import keep_photos, keep_picture, path_ending


@click.command()
@click.argument("photo")
@model_option
@click.option(
    "--method",
    "methods",
    default="saliency,lrp",
    show_default=True,
    help="Methods whose maps are held against each other, separated by commas.",
)
@click.option(
    "--target", help="The class to explain, by number or name. [default: the predicted class]"
)
@click.option("--out", default="noise.png", show_default=True, help="The picture to write, as PNG.")
def noise(photo: str, model: str, methods: str, target: str | None, out: str) -> None:
    """Measure why the maps of a PHOTO look noisy, say it in words, and draw it."""
    from pellucid.file import check_writable, write_bytes
    from pellucid.report import png

    image = check_writable(path_ending(out, ".png"))
    keep_photos((photo,), (image,), other="why.png")
    keep_picture(image, other="why.png")

    from pellucid.diagnose import diagnose_noise
    from pellucid.subjects import class_of
    from pellucid.zoo import find, open_photo

    opened, chosen, entry = open_photo(photo), choices.chosen(methods, ()), find(model)
    inputs = entry.preprocess(opened)
    of = None if target is None else class_of(target, entry.classes, entry.name)
    found = diagnose_noise(entry.model, inputs, of, chosen)
    write_bytes(image, png(found.plot(picture=entry.inverse(inputs))))
    click.echo(found)
    click.echo(f"picture  {image}")
