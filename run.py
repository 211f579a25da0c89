"""Start the relay: `python run.py`. Needs nothing but Python 3.11; `--help` says what else."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  whoever reads the line has an older one
    sys.exit("This needs Python 3.11 or newer, and this is " + sys.version.split()[0])

if sys.platform == "win32":
    sys.exit("This needs Linux or macOS: on Windows use WSL (docs/install.md).")

from launcher.command_line import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
