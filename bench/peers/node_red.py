"""Node-RED (npm install node-red): `python -m bench.peers.node_red`.

A flow as one would draw it: http in, a switch on a field of the alert, an answer. Nothing is
stored.
"""

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.peers.compare import compare, program
from bench.stage import Server, free_port, running

FLOW: list[dict[str, Any]] = [
    {"id": "tab", "type": "tab", "label": "alerts"},
    {
        "id": "in",
        "type": "http in",
        "z": "tab",
        "url": "/in",
        "method": "post",
        "wires": [["filter"]],
    },
    {
        "id": "filter",
        "type": "switch",
        "z": "tab",
        "property": "payload.action",
        "propertyType": "msg",
        "rules": [{"t": "eq", "v": "buy", "vt": "str"}],
        "outputs": 1,
        "wires": [["out"]],
    },
    {"id": "out", "type": "http response", "z": "tab", "statusCode": "202", "wires": []},
    {"id": "up", "type": "http in", "z": "tab", "url": "/up", "method": "get", "wires": [["yes"]]},
    {"id": "yes", "type": "http response", "z": "tab", "statusCode": "200", "wires": []},
]
SETTINGS = {
    "flowFile": "flows.json",
    "uiHost": "127.0.0.1",
    "httpAdminRoot": False,
    "telemetry": {"enabled": False},
    "logging": {"console": {"level": "warn", "metrics": False, "audit": False}},
}


@contextmanager
def started() -> Generator[Server]:
    command = program("node-red", "npm install node-red; then node_modules/.bin on the PATH")
    port = free_port()
    with TemporaryDirectory() as folder:
        Path(folder, "flows.json").write_text(json.dumps(FLOW))
        Path(folder, "settings.js").write_text(f"module.exports = {json.dumps(SETTINGS)};")
        options = ["--userDir", folder, "--settings", "settings.js", "--port", str(port)]
        with running([command, *options], port, "/up", folder, os.environ) as server:
            yield server


if __name__ == "__main__":
    print("Node-RED:")
    compare("Node-RED, http in, switch, answer", started(), "/in")
