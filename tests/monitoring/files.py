"""What stands in deploy/ for Prometheus and Grafana, read for tests, and the metrics it names."""

import json
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
CONFIG = ROOT / "deploy" / "prometheus" / "prometheus.yml"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
PAGE = (ROOT / "docs" / "monitoring.md").read_text()

NAME = re.compile(r"\b(?:relay|process)_[a-z0-9_]+|\bup\b(?=\{)")
RECORDED = re.compile(r"\brelay:[a-z0-9_:]+")
QUOTED = re.compile(r'"[^"]*"')


@cache
def groups() -> list[dict[str, Any]]:
    return yaml.safe_load(RULES.read_text())["groups"]


def rules(kind: str) -> list[dict[str, Any]]:
    """Those that `alert`, or that `record`."""
    return [rule for group in groups() for rule in group["rules"] if kind in rule]


def queries() -> Iterator[tuple[str, str]]:
    """Each query of each dashboard, with its panel."""
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}", target["expr"]


def named(expression: str) -> set[str]:
    """The metrics in an expression; of a histogram's or a summary's series the family too."""
    return set(NAME.findall(QUOTED.sub('""', expression)))


def recorded(expression: str) -> set[str]:
    return set(RECORDED.findall(QUOTED.sub('""', expression)))


def program(name: str) -> str:
    """Debian's package `prometheus` has both; the test is skipped where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found
