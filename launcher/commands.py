"""The commands of run.py, a row each; a module is imported when its command is asked for."""

import importlib
from dataclasses import dataclass
from enum import Enum
from types import ModuleType


class Needs(Enum):
    """What has to be there before a command can begin."""

    PYTHON = ""
    PACKAGES = "requirements.txt"
    DEVELOPMENT = "requirements-dev.txt"


@dataclass(frozen=True, slots=True)
class Command:
    """``module`` has `add_options(parser)` and `run_NAME(options) -> int`.

    What it imports at its top is there without packages: `--help` is answered by Python alone. What
    needs packages is imported by `run_NAME`.
    """

    name: str
    help: str
    module: str
    needs: Needs = Needs.PYTHON
    bare_with: str = ""
    """The option with which Python alone does after all."""
    rest: bool = False
    """Whether what follows the name is handed on unread, as ``options.rest``."""

    def load(self) -> ModuleType:
        return importlib.import_module(self.module)


PYTHON, PACKAGES, DEVELOPMENT = Needs

COMMANDS = (
    Command("status", "how the running relay does, what is wrong, what to do", "launcher.status"),
    Command("send", "post an alert, and say what becomes of it; or rehearse it", "launcher.send"),
    Command("tail", "follow signals and deliveries as they happen", "launcher.tail"),
    Command("replay", "send a signal once more, as a new one", "launcher.replay"),
    Command("completion", "a script that completes commands in your shell", "launcher.completion"),
    Command(
        "test",
        "install what tests need and run them; what follows goes to pytest",
        "launcher.testing",
        DEVELOPMENT,
        rest=True,
    ),
    Command("docker", "build and start with Docker Compose, follow the logs", "launcher.docker"),
    Command(
        "doctor",
        "what is well, what is not, and what to do about each; changes nothing",
        "launcher.doctor_command",
    ),
    Command(
        "demo-shots",
        "pictures of every page of the demo, in DIR",
        "launcher.shots",
        DEVELOPMENT,
    ),
    Command(
        "rotate-key",
        "make another ENCRYPTION_KEY and seal everything with it",
        "launcher.rotate_key_command",
        PACKAGES,
    ),
    Command(
        "verify",
        "prove that nobody changed the audit trail, in the database or in an exported FILE",
        "launcher.verify",
        PACKAGES,
        bare_with="file",
    ),
    Command(
        "backup",
        "write everything the relay keeps into FILE, while it runs; or look a FILE through",
        "launcher.backup_command",
        PACKAGES,
        bare_with="verify",
    ),
    Command(
        "restore",
        "make a database of a backup; what was under way then is held, and buying paused",
        "launcher.restore_command",
        PACKAGES,
    ),
    Command(
        "whatif",
        "ask the running relay which verdicts of a past period would flip",
        "launcher.whatif",
    ),
    Command(
        "adopt",
        "take over settings, screens and history of the original relay, from its folder PATH",
        "launcher.adopt",
    ),
)

SERVING = Command("", "serve until Ctrl-C", "launcher.serving", PACKAGES)
"""Without a command."""
