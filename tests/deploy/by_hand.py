"""`python -m tests.deploy.by_hand`: start what the compose file describes, and say what is seen."""

import sys
import tempfile
from pathlib import Path

from launcher.terminal import say
from tests.deploy.containers import forbidden, up
from tests.deploy.looking import look


def main() -> int:
    if why := forbidden():
        say(why)
        return 1
    with tempfile.TemporaryDirectory() as name, up(Path(name)) as project:
        for line in look(project):
            say(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
