"""Every cause, severity and kind of channel stands in the documents, and every preset."""

from enum import StrEnum
from pathlib import Path

import pytest

from domain.attention import Cause, Severity
from domain.channel import TERMS, ChannelKind

ROOT = Path(__file__).parents[2]
ENUMS: tuple[type[StrEnum], ...] = (Cause, Severity, ChannelKind)
EVENTS = ("attention.resolved", "channel.created", "channel.changed", "channel.archived")


@pytest.mark.parametrize("word", [*(str(one) for kind in ENUMS for one in kind), *EVENTS])
def test_every_word_stands_in_the_glossary(word: str) -> None:
    assert f"`{word}`" in (ROOT / "docs" / "glossary.md").read_text()


@pytest.mark.parametrize("kind", ChannelKind)
def test_every_kind_is_explained_with_what_it_is_given(kind: ChannelKind) -> None:
    told = (ROOT / "docs" / "operations.md").read_text().partition("## Being told")[2]
    (row,) = [line for line in told.splitlines() if line.startswith(f"| `{kind}` |")]
    assert [term for term in TERMS[kind] if f"`{term}`" not in row] == []
