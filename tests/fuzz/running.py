"""Starts a harness in a process of its own, and brings home its figures and what failed."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.report import machine

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """``runs`` inputs, or ``seconds`` of them; 0 is no limit. What fails is kept in ``failed``."""

    name: str
    seeds: Sequence[bytes]
    words: Sequence[bytes]
    seed: int = 1
    runs: int = 0
    seconds: float = 0
    largest: int = 70_000
    failed: Path = field(default_factory=lambda: Path("fuzz-failed"))


def fuzz(run: Run) -> dict[str, Any]:
    """Return the figures; ``failure`` says what went wrong, ``kept`` where its input is."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        folder = Path(place)
        _put(folder / "seeds", run.seeds)
        _put(folder / "corpus", ())
        _put(folder / "failed", ())
        (folder / "words").write_text("".join(map(_word, run.words)))
        with (folder / "output").open("wb") as output:
            code = subprocess.run(
                _command(run, folder), cwd=ROOT, stdout=output, stderr=output, check=False
            ).returncode
        said = (folder / "output").read_text(errors="replace")
        return _brought_home(run, folder, code, said)


def _command(run: Run, folder: Path) -> list[str]:
    """A hanging input is ended by libFuzzer after 25 s, and one that eats memory at 1 GB."""
    return [
        *(sys.executable, "-m", "tests.fuzz.harness", run.name, str(folder)),
        *(str(run.runs), str(run.seconds), f"-seed={run.seed}", f"-max_len={run.largest}"),
        *("-timeout=25", "-rss_limit_mb=1024", "-len_control=20", f"-dict={folder / 'words'}"),
        *(f"-artifact_prefix={folder / 'failed'}/", str(folder / "corpus"), str(folder / "seeds")),
    ]


def _put(folder: Path, inputs: Iterable[bytes]) -> None:
    folder.mkdir()
    for number, data in enumerate(inputs):
        (folder / f"{number:05}").write_bytes(data)


def _word(word: bytes) -> str:
    """A word as libFuzzer's dictionaries spell it."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n'


def _brought_home(run: Run, folder: Path, code: int, said: str) -> dict[str, Any]:
    noted = folder / "figures.json"
    figures: dict[str, Any] = json.loads(noted.read_text()) if noted.exists() else {}
    kept: list[str] = []
    for path in sorted((folder / "failed").iterdir()):
        run.failed.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, run.failed / f"{run.name}-{path.name}")
        kept.append(f"{run.name}-{path.name}")
    failure = figures.pop("failure", "") or (said[-3_000:] if code or not figures else "")
    about = {"target": run.name, "seed": run.seed, "seeds": len(run.seeds), "machine": machine()}
    return {**about, **figures, "failure": failure, "kept": kept}
