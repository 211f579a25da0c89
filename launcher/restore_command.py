"""`run.py restore`: its options, which need nothing but Python."""

import argparse
from pathlib import Path

DESCRIPTION = """\
Makes a database of the backup FILE: into an empty one, or with --replace instead of what is there.
The whole file is checked before anything is written, and a restore that is cut off leaves the
database as it was. Afterwards buying is paused, and deliveries that were under way when the backup
was taken are held: they may have arrived since. docs/backup.md goes through it step by step."""

EPILOG = """\
example: python run.py restore backups/relay-20261122-075532.backup.gz

exit codes: 0 done, 1 not done: everything is as it was, 2 wrong setting, or FILE cannot be read"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the command line understands."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument(
        "--replace", action="store_true", help="take away what the database has, for good"
    )
    parser.add_argument("--yes", action="store_true", help="ask nothing, for scripts")


def run_restore(options: argparse.Namespace) -> int:
    """Return 0 when it is done. Raises Refusal."""
    from launcher.restore import run  # noqa: PLC0415  needs the environment

    return run(options.file, replace=options.replace, yes=options.yes)
