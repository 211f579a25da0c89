"""`run.py backup`: its options, which need nothing but Python."""

import argparse
from pathlib import Path

from launcher.backup_reading import verify

DESCRIPTION = """\
Writes everything that the relay keeps into FILE, as of one moment, while it runs or while it does
not. FILE takes its place only once it is whole and was read back; where FILE is a folder, it gets
a name with the time. docs/backup.md says what is in it and how it is restored."""

EPILOG = """\
example: python run.py backup backups/
example: python run.py backup --verify backups/relay-20261122-075532.backup.gz

exit codes: 0 done (--verify: it is whole), 1 not done (it is damaged), 2 wrong setting, or FILE
cannot be read"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the command line understands."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument(
        "file", metavar="FILE", help="with a / at its end: a folder, made if needed"
    )
    parser.add_argument(
        "--verify", action="store_true", help="read FILE through, and say what is in it"
    )
    parser.add_argument(
        "--with-keys",
        action="store_true",
        help="put secrets.env into it: who has FILE then has everything",
    )
    parser.add_argument("--json", action="store_true", help="what was done, as JSON")


def run_backup(options: argparse.Namespace) -> int:
    """Return 0 when it is done. Raises Refusal."""
    if options.verify:
        return verify(Path(options.file), as_json=options.json)
    from launcher.backup import run  # noqa: PLC0415  needs the environment

    return run(options.file, with_keys=options.with_keys, as_json=options.json)
