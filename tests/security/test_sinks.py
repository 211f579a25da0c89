"""H8: neither our scripts nor our templates have a place where text could become code or markup."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "static/js").glob("*.js"))
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
MODULES = sorted((ROOT / "web").rglob("*.py"))

SINKS = re.compile(
    r"""\.(?:inner|outer)HTML\b | \binsertAdjacentHTML\b | \bdocument\.write(?:ln)?\b | \beval\s*\(
    | \bnew\s+Function\b | \bFunction\s*\( | \bset(?:Timeout|Interval)\s*\(\s*["'`]
    | \bcreateContextualFragment\b | \bparseFromString\b | \bsrcdoc\b | \bsetHTML(?:Unsafe)?\b
    | \b(?:local|session)Storage\b | \bdocument\.cookie\b | \bpostMessage\b | \bimportScripts\b
    | \bimport\s*\( | \bcreateScript(?:URL)?\b | javascript: | \.setAttribute\(\s*["'`]on
    """,
    re.VERBOSE | re.IGNORECASE,
)
UNESCAPED = re.compile(
    r"\|\s*(?:safe|tojson|xmlattr|urlize)\b|\bMarkup\b|\{%-?\s*autoescape|\bcall_macro_safe\b"
)
INLINE = re.compile(
    r"""<style\b | <script(?![^>]*\ssrc="\{\{\ static\ \}\}/)[^>]*> | \sstyle\s*=
    | \son(?!e=)[a-z]+= | \shx-(?:on|vals|vars|headers|request)\b | \bdata-hx- | javascript:
    | <base\b | <iframe\b | <meta\s+http-equiv | \b(?:src|href)="(?:https?:)?//
    """,
    re.VERBOSE | re.IGNORECASE,
)
UNQUOTED = re.compile(r"<[^>]*\s[\w:-]+=\{\{")
TARGET_BLANK = re.compile(r'<a\b[^>]*target="_blank"[^>]*>')


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def found(pattern: re.Pattern[str], paths: list[Path]) -> Iterator[str]:
    for path in paths:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if one := pattern.search(line):
                yield f"{named(path)}:{number}: {one[0].strip()}"


def test_no_script_makes_code_or_markup_of_text() -> None:
    assert SCRIPTS
    assert list(found(SINKS, SCRIPTS)) == []


def test_everything_in_a_template_is_escaped() -> None:
    assert list(found(UNESCAPED, [*TEMPLATES, *MODULES])) == []


def test_no_template_has_anything_inline_or_from_elsewhere() -> None:
    assert list(found(INLINE, TEMPLATES)) == []


def test_every_attribute_with_a_value_of_ours_is_quoted() -> None:
    """Escaping keeps nobody inside an attribute that has no quotes."""
    assert list(found(UNQUOTED, TEMPLATES)) == []


def test_what_opens_another_window_lets_it_know_nothing() -> None:
    links = [one for path in TEMPLATES for one in TARGET_BLANK.findall(path.read_text())]
    assert all('rel="noreferrer noopener"' in one for one in links)


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (SINKS, "part.innerHTML = text;"),
        (SINKS, "setTimeout('go()', 1);"),
        (SINKS, "new  Function(text)()"),
        (UNESCAPED, "{{ body | safe }}"),
        (UNESCAPED, "Markup(text)"),
        (INLINE, '<p onclick="go()">'),
        (INLINE, '<b style="color: red">'),
        (INLINE, "<script>go()</script>"),
        (INLINE, '<script src="/static/x.js">'),
        (INLINE, '<div hx-vals="js:{}">'),
        (INLINE, '<img src="//elsewhere.example/x">'),
        (UNQUOTED, "<p class={{ one }}>"),
    ],
)
def test_it_would_be_found(pattern: re.Pattern[str], line: str) -> None:
    assert pattern.search(line)
