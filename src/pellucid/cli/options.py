"""Options that several commands have."""

import click

DEFAULT_MODEL = "efficientnet_lite0"

MODEL_HELP = (
    "A model of the zoo, or package.module:factory. The factory is called without arguments and "
    "returns a pellucid.zoo.Entry, or a torch model; a model is shown photos as most ImageNet "
    "models are: 224 x 224 pixels, normalized by ImageNet's mean and deviation."
)

ROWS_HELP = (
    " Of rows of a table, the factory returns a fitted estimator, a function of data frames, or a "
    "torch model."
)

model_option = click.option("--model", default=DEFAULT_MODEL, show_default=True, help=MODEL_HELP)
any_model_option = click.option(
    "--model", default=DEFAULT_MODEL, show_default=True, help=MODEL_HELP + ROWS_HELP
)
factory_option = click.option(
    "--model",
    required=True,
    metavar="PACKAGE.MODULE:FACTORY",
    help="The factory is called without arguments and returns a fitted estimator, a function of "
    "data frames, or a torch model.",
)
batch_option = click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Most rows of one model call. [default: as many as fit in memory]",
)
limit_option = click.option(
    "--limit", type=click.IntRange(min=1), help="The most samples, evenly spread."
)
folder_option = click.option(
    "--folder", help="A folder that keeps what was found, to go on if interrupted."
)
label_option = click.option(
    "--label", metavar="COLUMN", help="The column of a table with the class of a row."
)
