"""No fenced block is without a fate: run, or told why not; and data is what it says it is."""

import configparser
import json
import re
import shutil
import subprocess
import tomllib
from io import StringIO
from pathlib import Path

import pytest
import yaml
from dotenv import dotenv_values

from config import Settings
from tests.docs.blocks import (
    COMMANDS,
    DATA,
    DOCUMENTS,
    ROOT,
    TEXT,
    Block,
    Fate,
    blocks_of,
    counts,
    everything,
    prose,
    table,
)
from tests.web.stage import Explicit, settings

BLOCKS = everything()
FLOOR = 0.7
"""The least share of commands and snippets that is run."""
ELSEWHERE = {"POSTGRES_PASSWORD", "PUBLISH"}
"""Read by docker-compose.yml."""
PROMPT = re.compile(r"^\s*(?:\$ |curl |python |python3 |docker |sudo |ssh )", re.MULTILINE)


def of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def named(block: Block) -> str:
    return block.place


# ── Everything has a fate ───────────────────────────────────────────────────────────────────


def test_most_commands_are_run() -> None:
    run, of_all = counts(BLOCKS)
    print(table(BLOCKS))  # noqa: T201  `pytest -rP` shows it
    assert run >= FLOOR * of_all
    assert of_all > 80


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_says_what_it_is(path: Path) -> None:
    for block in blocks_of(path):
        assert block.language in {*COMMANDS, *DATA, TEXT}, block.place
        assert not block.note or block.told[0], f"{block.place}: {block.note}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_not_run_says_why(path: Path) -> None:
    for block in blocks_of(path):
        if block.fate is Fate.NOT_RUN:
            assert 2 <= len(block.told[1].split()) <= 15, block.place


def test_what_is_run_elsewhere_is_run_there() -> None:
    """The test is there, and knows the command, or the page it takes the snippet from."""
    for block in BLOCKS:
        if block.fate is Fate.ELSEWHERE:
            file = ROOT / block.told[1]
            assert file.is_file(), block.place
            words = re.findall(r"run\.py (?:--)?([\w-]+)", block.code)
            text = file.read_text()
            assert all(word in text for word in words), block.place
            assert block.language == "sh" or block.path.name in text, block.place


def test_nothing_is_typed_that_would_change_the_machine() -> None:
    reaching = [block for block in BLOCKS if block.reaches_out]
    assert [block.place for block in reaching if block.fate is Fate.SESSION] == []
    assert {Fate.NOT_RUN, Fate.ELSEWHERE} == {block.fate for block in reaching}


def test_no_command_hides_as_text() -> None:
    """Addresses, drawings and answers are text; what a reader would type is not."""
    assert [b.place for b in BLOCKS if b.fate is Fate.TEXT and PROMPT.search(b.code)] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_fence_is_left_open(path: Path) -> None:
    assert "```" not in prose(path)


def test_a_block_in_a_list_is_found_and_moved_to_the_left(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("1. do\n\n   ```sh not-run: needs Docker\n   docker x\n   ```\n2. `a`\n")
    (block,) = blocks_of(page)
    assert (block.language, block.code) == ("sh", "docker x\n")
    assert (block.line, block.fate, block.told[1]) == (3, Fate.NOT_RUN, "needs Docker")
    assert prose(page).count("docker") == 0


# ── Data ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("block", of("json"), ids=named)
def test_json_is_json(block: Block) -> None:
    json.loads(block.code)


@pytest.mark.parametrize("block", of("yaml"), ids=named)
def test_yaml_is_yaml(block: Block) -> None:
    assert isinstance(yaml.safe_load(block.code), dict | list)


@pytest.mark.parametrize("block", of("toml", "ini"), ids=named)
def test_toml_and_ini_can_be_read(block: Block) -> None:
    if block.language == "toml":
        assert tomllib.loads(block.code)
    else:
        file = configparser.ConfigParser(strict=False, interpolation=None)
        file.read_string(block.code)
        assert file.sections()


@pytest.mark.parametrize("block", of("dotenv"), ids=named)
def test_settings_are_settings_with_values_that_may_be(block: Block) -> None:
    given = dict(dotenv_values(stream=StringIO(block.code), interpolate=False))
    names = {name.removesuffix("_FILE") for name in given}
    assert names - ELSEWHERE <= {name.upper() for name in Settings.model_fields}
    whole = {n.lower(): v for n, v in given.items() if n.lower() in Settings.model_fields}
    assert isinstance(settings(**whole), Explicit)


@pytest.mark.parametrize("block", of("caddy"), ids=named)
def test_caddy_reads_it(block: Block, tmp_path: Path) -> None:
    caddy = shutil.which("caddy")
    if caddy is None:
        pytest.skip(f"no caddy here: {block.place} is not read")
    file = tmp_path / "Caddyfile"
    file.write_text(block.code)
    command = [caddy, "adapt", "--config", str(file), "--adapter", "caddyfile"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


# ── Drawings ────────────────────────────────────────────────────────────────────────────────

KIND = re.compile(r"(?:flowchart (?:LR|TB|TD)|sequenceDiagram|stateDiagram-v2)")
NODE = r"[a-z]\w*(?:\[\"[^\"\[\]]+\"\]|\(\[\"[^\"]+\"\]\)|\[\(\"[^\"]+\"\)\]|\{\"[^\"]+\"\})?"
ARROW = r" (?:-->|-\.->|==>)(?:\|\"?[^|\"]+\"?\|)? "
LINE = re.compile(
    rf"(?:{NODE}(?:{ARROW}{NODE})*|subgraph [a-z]\w*\[\"[^\"]+\"\]|end|direction (?:LR|TB)|%% .*)"
)


@pytest.mark.parametrize("block", of("mermaid"), ids=named)
def test_mermaid_is_of_the_plain_kind_that_github_draws(block: Block) -> None:
    """A flowchart of named boxes, quoted words and arrows: the part of Mermaid that we use."""
    first, *lines = [line.strip() for line in block.code.splitlines() if line.strip()]
    assert KIND.fullmatch(first)
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    assert sum(line.startswith("subgraph") for line in lines) == lines.count("end")
    drawn = " ".join(lines)
    defined = set(re.findall(r"\b([a-z]\w*)(?=\[|\(\[|\{\")", drawn))
    used = set(
        re.findall(r"\b([a-z]\w*)\b(?= (?:-->|-\.->|==>))", re.sub(r"\"[^\"]*\"", "", drawn))
    )
    assert used <= defined | {"subgraph"}
