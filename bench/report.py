"""Results: kept as JSON, told as a table, which takes its place in bench/README.md."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from bench.figures import Figure, budget_of, number

FOLDER = Path(__file__).parent
LATEST, README = FOLDER / "results" / "latest.json", FOLDER / "README.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"

Results: TypeAlias = dict[str, Any]


def keep(
    path: Path,
    name: str,
    figures: Sequence[Figure],
    machine: Mapping[str, Any],
    **more: Any,
) -> None:
    """Write what one benchmark found; what others found before stays."""
    results: Results = json.loads(path.read_text()) if path.exists() else {}
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    made = {"when": when, "machine": dict(machine), **more}
    results[name] = made | {"figures": [one.as_json() for one in figures]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


def figures_of(results: Results) -> list[tuple[str, Figure]]:
    """Each with its benchmark: ratios and CPU time first, then what moves with the machine."""
    found = [(name, Figure(**given)) for name, made in results.items() for given in made["figures"]]
    return sorted(found, key=lambda one: not one[1].is_ratio)


def table(results: Results) -> str:
    """The figures in Markdown, and what they were measured on."""
    lines = ["| benchmark | what | median | range | budget |", "|---|---|---|---|---|"]
    lines += [_row(name, figure) for name, figure in figures_of(results)]
    return "\n".join([*_told(results), "", *lines])


def _told(results: Results) -> list[str]:
    """A line for each machine; benchmarks of the same one share it."""
    said: dict[str, list[str]] = {}
    for name, made in results.items():
        machine = made["machine"]
        packages = ", ".join(f"{one} {version}" for one, version in machine["packages"].items())
        words = f"{machine['machine']}; Linux {machine['system']}, CPython {machine['python']}, "
        words += f"PostgreSQL {machine['postgres']}, {packages}"
        words += "; quick rounds" if made.get("quick") else ""
        said.setdefault(words, []).append(f"{name} {made['when']} (load {machine['load before']})")
    return [f"{words}.\nMeasured (UTC): {', '.join(names)}." for words, names in said.items()]


def _row(name: str, one: Figure) -> str:
    marks = " *noisy*" * one.noisy
    low_high = (
        "" if one.low is None or one.high is None else f"{number(one.low)} to {number(one.high)}"
    )
    verdict = {True: " ✓", False: " **missed**", None: ""}[one.met]
    middle = f"{number(one.value)} {one.unit}".strip()
    return f"| {name} | {one.what} | {middle}{marks} | {low_high} | {budget_of(one)}{verdict} |"


def put(readme: str, table: str) -> str:
    """The README with this table between its marks. Raises ValueError when it has none."""
    before, begun, rest = readme.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (begun and ended):
        raise ValueError(f"{BEGIN} and {END} are not both there")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def renew(path: Path = LATEST) -> None:
    """`python -m bench table [FILE]`: the table in bench/README.md from a file of results."""
    made = table(json.loads(path.read_text()))
    README.write_text(put(README.read_text(), made))
    print(made)
