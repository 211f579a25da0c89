"""What the pages of operators put in quotes is said by the program, word for word."""

import re
from functools import cache

import pytest

from tests.docs.blocks import ROOT, prose

OPERATORS = ("screens", "destinations", "positions", "operations", "troubleshooting")
PAGES = ("README.md", *(f"docs/{name}.md" for name in OPERATORS))
FLOORS = ("web", "launcher", "domain", "database", "engines")
SAYERS = (
    "templates/**/*.html",
    "static/js/*.js",
    "*.py",
    *(f"{floor}/**/*.py" for floor in FLOORS),
)
CURLY = "\u2019"
QUOTED = re.compile(r'"([A-Z][^"\n|]{3,90})"')
OTHERS = {
    "Too many requests",
    "NAME: …",
    "Forwarding. List fresh, …",
    "A buy of this ticker was forwarded, and no sell since.",
}
"""Said by Finviz, a placeholder, made of two sentences, and a definition."""


@cache
def said() -> str:
    """Everything that is written for people, as one line: strings joined as Python joins them."""
    texts = [path.read_text() for pattern in SAYERS for path in sorted(ROOT.glob(pattern))]
    joined = re.sub(r'"\s*\n\s*f?"', "", "\n".join(texts))
    plain = re.sub(r"</?[a-z][^<>]*>", "", joined.replace(CURLY, "'"))
    return re.sub(r"\s+", " ", plain)


def pieces(quote: str) -> list[str]:
    """The parts between what varies."""
    words = re.split(r"…|\*[^*]+\*|`[^`]*`", quote)
    return [one for word in words if len(one := word.strip(" .,:;()")) > 3]


@pytest.mark.parametrize("page", PAGES)
def test_what_is_quoted_is_said(page: str) -> None:
    quotes = set(QUOTED.findall(prose(ROOT / page).replace(CURLY, "'"))) - OTHERS
    assert quotes
    unsaid = [q for q in sorted(quotes) if not all(piece in said() for piece in pieces(q))]
    assert unsaid == []


def test_a_label_that_was_changed_is_found_out() -> None:
    assert all(piece in said() for piece in pieces("Sell all…"))
    assert not all(piece in said() for piece in pieces("Sell everything there is…"))
