"""House rules no linter knows: sizes, words, who reads the settings, views and their templates."""

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, FileSystemLoader, meta, nodes

from domain.gate import Reason
from domain.why import REASONS, explain
from web import views

ROOT = Path(__file__).parents[2]
PACKAGES = ("domain", "database", "engines", "web", "launcher", "demo", "bench", "tests")
MAX_FILE = 400
MAX_FUNCTION = 60
MAX_DOCSTRING = 100
FORBIDDEN = re.compile(
    r"(?<![a-z])(manager|helper|util|common|processor|handler|service|tracker)s?(?![a-z])"
)
TEMPLATE = re.compile(r"templates/([\w/]+\.html)")

SOURCES = [
    *(
        ROOT / name
        for name in (
            *("main.py", "engine_room.py", "furnishing.py", "house.py"),
            *("config.py", "run.py", "version.py"),
        )
    ),
    *(path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))),
]
PRODUCT = [path for path in SOURCES if ROOT / "tests" not in path.parents]
"""The names of tests say what they are for, and other people's words (Compose's service) occur."""
TEMPLATES = Environment(loader=FileSystemLoader(ROOT / "templates"), autoescape=True)


@cache
def parsed(path: Path) -> ast.Module:
    """Not before it is asked for: every worker collects the tests, and one runs them."""
    return ast.parse(path.read_text())


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


# ── Sizes and words ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_files_and_functions_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_FILE
    for function in functions(parsed(path)):
        assert function.end_lineno is not None
        assert function.end_lineno - function.lineno < MAX_FUNCTION, function.name


@pytest.mark.parametrize("path", PRODUCT, ids=named)
def test_every_module_says_in_one_line_what_it_is_for(path: Path) -> None:
    docstring = ast.get_docstring(parsed(path))
    assert docstring is not None
    assert len(docstring.splitlines()[0]) <= MAX_DOCSTRING
    assert re.search(r"[.:!?]$", docstring.splitlines()[0])


@pytest.mark.parametrize("path", PRODUCT, ids=named)
def test_names_say_what_a_thing_is(path: Path) -> None:
    """`Manager` and its like say nothing; what is defined here gets the name of the thing."""
    defined = [
        node.name
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    words = [re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower() for name in [path.stem, *defined]]
    assert [word for word in words if FORBIDDEN.search(word)] == []


# ── Who knows what ──────────────────────────────────────────────────────────────────────────


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_only_main_and_the_launcher_read_the_settings() -> None:
    readers = {named(path) for path in SOURCES if "config" in imported(parsed(path))}
    shipped = {reader for reader in readers if not reader.startswith(("tests/", "bench/"))}
    assert "main.py" in shipped
    composing = {"main.py", "engine_room.py", "furnishing.py", "house.py"}
    assert {r for r in shipped - composing if not r.startswith("launcher/")} == set()


def test_every_reason_is_worded_and_nothing_else() -> None:
    assert set(REASONS) == {str(reason) for reason in Reason}
    assert len(set(REASONS.values())) == len(REASONS)
    for reason in Reason:
        said = explain(status="rejected", reason=reason, rank=None, cutoff=None, age_ms=None)
        assert said == REASONS[reason]
        assert said.endswith(".")


# ── Views and templates ─────────────────────────────────────────────────────────────────────

MODULES = [
    importlib.import_module(f"web.views.{one.name}") for one in pkgutil.iter_modules(views.__path__)
]
DATACLASSES: dict[str, type[Any]] = {
    name: kind
    for module in MODULES
    for name, kind in inspect.getmembers(module, inspect.isclass)
    if is_dataclass(kind) and kind.__module__ == module.__name__
}
VIEWS = {
    kind: TEMPLATE.findall(kind.__doc__ or "")
    for kind in DATACLASSES.values()
    if TEMPLATE.search(kind.__doc__ or "")
}
PAGES = [(kind, template) for kind, templates in VIEWS.items() for template in templates]
EVERYWHERE = {"static"}
"""What every template has: the address of our files (web/static.py)."""

SHOWN_BY_OTHERS = {("Moment", "at")}
"""Fields that a template reads through a property of their own dataclass."""


def syntax(template: str) -> nodes.Template:
    assert TEMPLATES.loader is not None
    source, _, _ = TEMPLATES.loader.get_source(TEMPLATES, template)
    return TEMPLATES.parse(source)


def with_parts(template: str) -> dict[str, nodes.Template]:
    """A template and everything it extends or includes."""
    found: dict[str, nodes.Template] = {}
    waiting = [template]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name] = syntax(name)
        referenced = list(meta.find_referenced_templates(found[name]))
        assert None not in referenced, f"{name} includes by a computed name"
        waiting += [part for part in referenced if part]
    return found


def variables(template: str) -> set[str]:
    return {
        name
        for tree in with_parts(template).values()
        for name in meta.find_undeclared_variables(tree)
        if name not in EVERYWHERE
    }


def test_every_template_belongs_to_a_view() -> None:
    there = {named(path) for path in (ROOT / "templates").rglob("*.html")}
    reached = {f"templates/{part}" for _, page in PAGES for part in with_parts(page)}
    assert VIEWS
    assert there == reached


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page[1])
def test_a_template_uses_only_what_its_view_has(page: tuple[type[Any], str]) -> None:
    view, template = page
    assert variables(template) <= {field.name for field in fields(view)}


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.__name__)
def test_every_field_of_a_view_is_shown(view: type[Any]) -> None:
    shown = {name for template in VIEWS[view] for name in variables(template)}
    assert {field.name for field in fields(view)} <= shown


def test_every_field_of_a_row_is_shown() -> None:
    trees = [tree for _, page in PAGES for tree in with_parts(page).values()]
    read = {node.attr for tree in trees for node in tree.find_all(nodes.Getattr)}
    rows = [kind for kind in DATACLASSES.values() if kind not in VIEWS]
    unread = {(k.__name__, f.name) for k in rows for f in fields(k) if f.name not in read}
    assert rows
    assert unread <= SHOWN_BY_OTHERS
