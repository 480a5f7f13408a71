"""`pellucid methods` and `pellucid metrics`: what there is to choose from."""

import click

from pellucid import choices


@click.command("methods")
def list_methods() -> None:
    """List the methods: what each answers, and its options with their defaults."""
    from pellucid.method import methods

    known = methods()
    for name in sorted(known):
        click.echo(f"{click.style(name, bold=True)}  {known[name].__name__}")
        click.echo(f"    {known[name].answers}")
        options = choices.described(known[name])
        click.echo(f"    options: {options}" if options else "    no options")


@click.command("metrics")
def list_metrics() -> None:
    """List the metrics: what each answers, which direction is better, and what it needs."""
    from pellucid.evaluate import metrics

    known = metrics()
    for name in sorted(known):
        found = known[name]
        needs = f"; needs {', '.join(sorted(found.needs))}" if found.needs else ""
        better = "only describes" if found.better == "neither" else f"{found.better} is better"
        click.echo(f"{click.style(name, bold=True)}  {found.__name__}, {better}{needs}")
        click.echo(f"    {found.answers}")
