"""`run.py rotate-key`: its options, which need nothing but Python."""

import argparse

DESCRIPTION = """\
Makes another ENCRYPTION_KEY in secrets.env, seals everything in the database with it, and forgets
the one before. Stop the relay first. Killed at any moment, both keys stay: run it again.
Where the key comes from the environment, it says what to set, and then seals what is to be sealed,
beside relays that know both keys."""

EPILOG = """\
example: python run.py rotate-key --check

exit codes: 0 done (--check: everything is sealed with ENCRYPTION_KEY), 1 not done (or not so),
2 wrong setting or command"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the command line understands."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument(
        "--check", action="store_true", help="change nothing: say what is sealed with which key"
    )


def run_rotate_key(options: argparse.Namespace) -> int:
    """Return 0 when it is done."""
    from launcher.rotate_key import run_rotation  # noqa: PLC0415  needs the environment

    return run_rotation(check=options.check)
