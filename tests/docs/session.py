"""The commands of one document, typed into one shell as a reader would, against a real relay."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.docs.blocks import ROOT, Block

HERE = "127.0.0.1:8000"
PATIENCE = 60
PREPARED = """
set -o pipefail -o errtrace
trap 'echo "FAILED: $BASH_COMMAND" >&2' ERR
curl() {
    command curl --silent --show-error --max-time 30 \\
        --write-out '%{stderr}HTTP %{http_code} %{url}\\n' "$@"
}
python() {
    if [ "$1" = run.py ]; then shift; command "$PYTHON" "$REPOSITORY/run.py" "$@"
    else PYTHONPATH="$REPOSITORY" command "$PYTHON" "$@"; fi
}
"""
RUNS = {
    "sh": "source {file}",
    "python": "python {file}",
    "javascript": "node --experimental-websocket --no-warnings {file}",
}
NEEDS = {"sh": "curl", "javascript": "node"}


class NotHereError(Exception):
    """A program that the block is for is not on this machine."""


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a block."""

    printed: str
    complaints: str

    @property
    def statuses(self) -> list[int]:
        return [int(one) for one in re.findall(r"^HTTP (\d+) ", self.complaints, re.MULTILINE)]

    @property
    def failures(self) -> list[str]:
        return re.findall(r"^FAILED: .*", self.complaints, re.MULTILINE)[:1]


@dataclass(slots=True)
class Session:
    """A shell that lives as long as a page, in a folder of its own."""

    folder: Path
    port: int
    shell: asyncio.subprocess.Process
    number: int = 0
    ids: dict[str, str] = field(default_factory=dict[str, str])

    async def run(self, block: Block) -> Done:
        """Type a block, and wait for the end of it."""
        assert not block.reaches_out, f"{block.place}: say run-by or not-run"
        program = NEEDS.get(block.language)
        if program and not shutil.which(program):
            raise NotHereError(program)
        self.number += 1
        name = f"block-{self.number}.{block.language}"
        (self.folder / name).write_text(self.told(block.code))
        command = RUNS[block.language].format(file=f"./{name}")
        end = f"=== {name}"
        assert self.shell.stdin is not None
        typed = f"{{ {command}\n}} >{name}.out 2>{name}.err </dev/null; echo '{end}'\n"
        self.shell.stdin.write(typed.encode())
        await self.shell.stdin.drain()
        await asyncio.wait_for(self._until(end), PATIENCE)
        return Done((self.folder / f"{name}.out").read_text(), self._complaints(name))

    def _complaints(self, name: str) -> str:
        return (self.folder / f"{name}.err").read_text()

    async def _until(self, end: str) -> None:
        assert self.shell.stdout is not None
        async for line in self.shell.stdout:
            if line.decode().strip() == end:
                return
        raise AssertionError(f"the shell ended before {end}")

    def told(self, code: str) -> str:
        """The page's port is ours here, and what it shows as an id is one that there is."""
        code = code.replace(HERE, f"127.0.0.1:{self.port}")
        for start, id in self.ids.items():
            code = re.sub(rf"(?<={start}/)[0-9a-f]{{8}}-[0-9a-f-]{{27}}", id, code)
        return code


@asynccontextmanager
async def session(folder: Path, port: int, tokens: Mapping[str, str]) -> AsyncGenerator[Session]:
    """Begin one; the tokens are in the environment, and in secrets.env as after a first start."""
    (folder / "data").mkdir()
    lines = "".join(f"{name}={value}\n" for name, value in tokens.items())
    (folder / "data" / "secrets.env").write_text(lines)
    shell = await asyncio.create_subprocess_exec(
        "bash",
        "--norc",
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],  # noqa: TID251  programs are where they are for us
            "HOME": str(folder),
            "PYTHON": sys.executable,
            "REPOSITORY": str(ROOT),
            "RELAY_ENVIRONMENT": "system",
            "PORT": str(port),
            **tokens,
        },
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert shell.stdin is not None
    shell.stdin.write(PREPARED.encode())
    try:
        yield Session(folder, port, shell)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        await shell.wait()
