"""`python -m tests.chaos.replica`: the relay as it is, with failpoints read from the environment.

The only way to switch a failpoint on: the product's own entry has none.
"""

import ctypes
import os
import random  # noqa: TID251  chance is drawn from a seed
import signal
import sys
from pathlib import Path

import main
from config import Settings
from engines.failpoints import Point
from launcher.logs import conceal
from launcher.serve import run
from launcher.server import Application
from tests.chaos.failures import Armed, Failures, parse, perform

PR_SET_PDEATHSIG = 1


def build(settings: Settings, database_url: str) -> Application:
    words = os.environ.get("FAILPOINTS", "")  # noqa: TID251  the one setting of a test build
    seed = os.environ.get("FAILPOINT_SEED", "0")  # noqa: TID251  and its chance
    file = os.environ["FAILPOINT_FILE"]  # noqa: TID251  and where more are named while it runs
    failures = Failures(parse(words), random.Random(seed).random, perform)
    armed = Armed(Path(file), perform)

    def reach(point: Point) -> None:
        failures(point)
        armed(point)

    return main.build(settings, database_url, reach=reach, conceal=conceal)


def end_with_parent() -> None:
    """A harness that is killed leaves no replica behind: prctl(2)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


if __name__ == "__main__":
    end_with_parent()
    sys.exit(run(build))
