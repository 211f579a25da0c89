"""The version: one place says it, and the revision is found wherever Git keeps it."""

import json
import subprocess
import tomllib
from pathlib import Path

import pytest

from version import ROOT, VERSION, revision

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHOWN = COMMIT[:12]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_every_file_says_the_same_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bill = json.loads((ROOT / "sbom.cdx.json").read_text())
    assert project["version"] == bill["metadata"]["component"]["version"] == VERSION


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"REVISION": f"{COMMIT}\n"}, id="a file of the image"),
        pytest.param({".git/HEAD": COMMIT}, id="no branch"),
        pytest.param(
            {".git/HEAD": "ref: refs/heads/a/b\n", ".git/refs/heads/a/b": COMMIT}, id="a branch"
        ),
        pytest.param(
            {
                ".git/HEAD": "ref: refs/heads/main\n",
                ".git/packed-refs": f"# pack-refs with: peeled\n{COMMIT} refs/heads/main",
            },
            id="a packed branch",
        ),
        pytest.param(
            {
                ".git": "gitdir: repository/worktrees/here\n",
                "repository/worktrees/here/HEAD": "ref: refs/heads/main\n",
                "repository/worktrees/here/commondir": "../..\n",
                "repository/refs/heads/main": COMMIT,
            },
            id="a worktree",
        ),
    ],
)
def test_the_revision_is_found(files: dict[str, str], tmp_path: Path) -> None:
    for name, text in files.items():
        write(tmp_path / name, text)
    assert revision(tmp_path) == SHOWN


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"REVISION": "unknown"},
        {"REVISION": "<script>alert(1)</script>"},
        {".git/HEAD": "ref: refs/heads/unborn"},
    ],
)
def test_what_nobody_says_is_not_made_up(files: dict[str, str], tmp_path: Path) -> None:
    for name, text in files.items():
        write(tmp_path / name, text)
    assert revision(tmp_path) is None


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no checkout")
def test_git_says_the_same() -> None:
    asked = ["git", "-c", f"safe.directory={ROOT}", "rev-parse", "HEAD"]
    said = subprocess.check_output(asked, cwd=ROOT, text=True)
    assert revision() == said[:12]
