"""H16, H22: no repr shows a secret, and every statement is made of constants."""

import ast
import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import pytest

import database
import domain
import engines
import web

ROOT = Path(__file__).parents[2]

SECRET = re.compile(
    r"(?:.*_)?(?:url|headers|secrets?|token|password|email|body|excerpt|add|current|previous"
    r"|hook|cipher|ciphers|sealed|_known)"
)
SHOWABLE = {
    "database.access.Session.token": "what the session was begun with: name and end",
    "database.access.Listed.token": "the name of one",
    "domain.advice.Member.secret": "whether it is",
    "domain.chain.Link.previous": "a digest",
    "domain.screen.Screen.url": "a screener's address, without its token",
    "engines.destinations.examiner.Examined.body": "our own words",
    "engines.destinations.examiner.Examined.headers": "masked",
    "engines.destinations.examiner.Examined.excerpt": "masked",
    "engines.relay.judge.Judge.current": "the list in force",
    "engines.relay.rehearsal.Parcel.body": "masked",
    "engines.relay.rehearsal.Parcel.headers": "masked",
    "engines.relay.rehearsal.Parcel.url": "masked",
    "engines.universe.finviz_probe.Question.url": "a screener's address, without its token",
    "web.dependencies.Rules.public_url": "public",
}
"""With a reason each. What templates are given is masked, but for secrets that are shown once."""


def made_in(package: ModuleType) -> Iterator[type]:
    """Every dataclass and named tuple of a floor."""
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    for name in (one.name for one in found if ".migrations" not in one.name):
        for made in vars(importlib.import_module(name)).values():
            if isinstance(made, type) and made.__module__ == name and shown_by(made):
                yield made


def shown_by(made: Any) -> dict[str, object]:
    """What a repr shows of the members, and what they are."""
    if is_dataclass(made):
        return {one.name: one.type for one in dataclasses.fields(made) if one.repr}
    return get_type_hints(made) if hasattr(made, "_fields") else {}


def test_no_repr_shows_a_secret() -> None:
    """A repr gets into tracebacks and logs sooner or later."""
    shown = set[str]()
    for made in (one for package in (domain, database, engines, web) for one in made_in(package)):
        if made.__repr__.__qualname__ == f"{made.__qualname__}.__repr__" and not hasattr(
            made.__repr__, "__wrapped__"
        ):
            continue  # one of its own
        views = made.__module__.startswith("web.views")
        names = re.compile(r"secret|token") if views else SECRET
        shown |= {
            f"{made.__module__}.{made.__qualname__}.{name}"
            for name, kind in shown_by(made).items()
            if names.fullmatch(name) and kind is not bool
        }
    assert shown <= SHOWABLE.keys(), shown - SHOWABLE.keys()
    assert len(SHOWABLE) < 20


# ── Statements ──────────────────────────────────────────────────────────────────────────────

FROM_CODE = {
    "database/resealing.py": "names of columns from database.sealed.COLUMNS",
    "database/searching.py": "clauses that stand there, chosen by which filters are given",
    "database/selections.py": "clauses that stand there, chosen by which filters are given",
    "database/exporting.py": "the clauses of database.searching",
}
"""Statements put together while the relay runs: of what, because no caller's text is in them."""


def statements() -> Iterator[tuple[str, ast.Call, list[ast.AST]]]:
    """Every `text(…)`, with what it stands in."""
    for path in sorted((ROOT / "database").glob("*.py")):
        tree = ast.parse(path.read_text())
        for node, above in walked(tree, []):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"text", "sqlalchemy.text"}:
                yield str(path.relative_to(ROOT)), node, above


def walked(node: ast.AST, above: list[ast.AST]) -> Iterator[tuple[ast.AST, list[ast.AST]]]:
    yield node, above
    for child in ast.iter_child_nodes(node):
        yield from walked(child, [*above, node])


def foreign(call: ast.Call, above: list[ast.AST]) -> set[str]:
    """Names in a statement that are parameters, or assigned in a function."""
    functions = [one for one in above if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    own = {
        name
        for function in functions
        for name in (
            *(one.arg for one in ast.walk(function.args) if isinstance(one, ast.arg)),
            *(
                one.id
                for one in ast.walk(function)
                if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
            ),
        )
    }
    used = {one.id for one in ast.walk(call) if isinstance(one, ast.Name)}
    return used & own


def is_builder(above: list[ast.AST]) -> bool:
    """Whether it stands in a function that is called while modules are loaded, and never later."""
    names = [one.name for one in above if isinstance(one, ast.FunctionDef)]
    calls = [
        any(isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) for one in above_call)
        for path in sorted((ROOT / "database").glob("*.py"))
        for node, above_call in walked(ast.parse(path.read_text()), [])
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in names
    ]
    return bool(calls) and not any(calls)


def test_every_statement_is_made_of_constants() -> None:
    """What a caller gives is bound, never written into a statement (H22)."""
    found = list(statements())
    astray = [
        f"{path}:{call.lineno} {sorted(names)}"
        for path, call, above in found
        if (names := foreign(call, above)) and path not in FROM_CODE and not is_builder(above)
    ]
    assert astray == []
    assert len(found) > 150, "the search finds statements"


@pytest.mark.parametrize("floor", ["web", "engines", "domain"])
def test_no_other_floor_has_statements(floor: str) -> None:
    """import-linter keeps SQLAlchemy out; this keeps out what would be handed down as text."""
    words = re.compile(r"\b(?:SELECT .* FROM|INSERT INTO|UPDATE \w+ SET|DELETE FROM)\b")
    for path in sorted((ROOT / floor).rglob("*.py")):
        assert not words.search(path.read_text()), path
