"""`pellucid tape`: every operation of one run."""

import click

from pellucid.cli.options import model_option


@click.command()
@click.argument("photo", required=False)
@model_option
def tape(photo: str | None, model: str) -> None:
    """Print every operation of one run: its layer, the shape of its output, its rule.

    Without a PHOTO the model is shown a gray square.
    """
    from PIL import Image

    from pellucid.tape.record import record
    from pellucid.zoo import find, open_photo

    shown = open_photo(photo) if photo else Image.new("RGB", (256, 256), "gray")
    entry = find(model)
    click.echo(record(entry.model, entry.preprocess(shown)))
