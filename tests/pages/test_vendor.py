"""What others wrote is there as they published it."""

import hashlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT / "static/vendor", ROOT / "tests/pages/vendor")
ROW = re.compile(r"^\| `([^`]+)` \|.*\| `([0-9a-f]{64})` \|$", re.MULTILINE)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_every_file_is_named_with_its_hash(folder: Path) -> None:
    named = dict(ROW.findall((folder / "NOTICE.md").read_text()))
    there = {
        one.name: hashlib.sha256(one.read_bytes()).hexdigest()
        for one in folder.iterdir()
        if one.name != "NOTICE.md"
    }
    assert named == there
    assert there
