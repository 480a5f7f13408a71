"""What `python -m pellucid` runs: the command line."""

from pellucid.cli import main

main(prog_name="pellucid")
