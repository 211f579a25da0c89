"""Debian's `webhook` (apt install webhook): `python -m bench.peers.webhook`.

Two hooks that read the alert and compare a field of it: one does not match, one runs /bin/true.
Neither stores anything.
"""

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.peers.compare import compare, program
from bench.stage import Server, free_port, running

HOOKS = {"no match": "sell", "runs /bin/true": "buy"}
"""What `action` has to be; every alert of the load is a buy."""


def hook(action: str) -> dict[str, object]:
    rule = {"type": "value", "value": action, "parameter": {"source": "payload", "name": "action"}}
    return {
        "id": "in",
        "execute-command": "/bin/true",
        "success-http-response-code": 202,
        "trigger-rule-mismatch-http-response-code": 202,
        "trigger-rule": {"match": rule},
    }


@contextmanager
def started(action: str) -> Generator[Server]:
    command = program("webhook", "Debian: apt install webhook")
    port = free_port()
    with TemporaryDirectory() as folder:
        Path(folder, "hooks.json").write_text(json.dumps([hook(action)]))
        options = ["-hooks", "hooks.json", "-ip", "127.0.0.1", "-port", str(port), "-nopanic"]
        with running([command, *options], port, "/", folder, os.environ) as server:
            yield server


if __name__ == "__main__":
    for words, wanted in HOOKS.items():
        print(f"webhook, {words}:")
        compare(f"webhook, {words}", started(wanted), "/hooks/in")
