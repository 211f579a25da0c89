"""Alert rules: each says what it means and where help is, fires when it should, and only then."""

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from domain.attention import Severity
from tests.monitoring.files import CONFIG, PAGE, RULES, groups, program, recorded, rules
from tests.monitoring.firing import CASES, LONG

ALERTS = {rule["alert"]: rule for rule in rules("alert")}
LATE = "80m"
"""By then every alert has lasted as long as it must; the one of retention waits for longer."""
LATER = {"RelayRetentionBehind": "370m"}


def test_an_alert_says_what_it_means_and_where_help_is() -> None:
    for name, rule in ALERTS.items():
        assert rule["labels"].keys() == {"severity"}, name
        assert rule["labels"]["severity"] in set(Severity), name
        notes = rule["annotations"]
        assert set(notes) == {"summary", "description", "runbook"}, name
        assert notes["summary"].endswith("."), name
        assert notes["description"].endswith("."), name
        assert notes["runbook"] == f"docs/monitoring.md#{name.lower()}"
        severity = rule["labels"]["severity"]
        lasting = f", after {rule['for']}" if "for" in rule else ""
        assert f"\n### {name}\n\n*{severity}*{lasting}. " in PAGE, "its runbook"


def test_the_page_knows_no_alert_that_is_not_there() -> None:
    headings = [line[4:] for line in PAGE.splitlines() if line.startswith("### Relay")]
    assert sorted(headings) == sorted(ALERTS)


def test_what_is_used_as_recorded_is_recorded() -> None:
    known = {rule["record"] for rule in rules("record")}
    assert {name for rule in ALERTS.values() for name in recorded(rule["expr"])} <= known
    assert len(ALERTS) == len(rules("alert"))
    assert all(group["name"].startswith("relay") for group in groups())


def test_prometheus_is_told_of_the_rules_and_keeps_the_token_in_a_file() -> None:
    config: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    assert config["rule_files"] == [RULES.name]
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "relay"  # the rules say so
    assert set(job["authorization"]) == {"credentials_file"}


def test_promtool_finds_nothing_wrong() -> None:
    promtool = program("promtool")
    for check in (["rules", str(RULES)], ["config", "--syntax-only", str(CONFIG)]):
        code, said = ran(promtool, "check", *check)
        assert code == 0, said


def test_every_alert_has_series_to_fire_at() -> None:
    assert set(CASES) == set(ALERTS)


def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    """Promtool's own unit tests; alerts that look at other metrics share one."""
    promtool = program("promtool")
    tests = [case(pack, fires=fires) for pack in packed() for fires in (True, False)]
    file = tmp_path / "alerts.test.yml"  # JSON is YAML
    file.write_text(
        json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests})
    )
    code, said = ran(promtool, "test", "rules", str(file))
    assert code == 0, said[:4_000]


def ran(*command: str) -> tuple[int, str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr + done.stdout


def packed() -> list[list[str]]:
    """The alerts, in as few tests as have no metric of two of them."""
    packs: list[tuple[list[str], set[str]]] = []
    for name in sorted(CASES, key=lambda one: one in LATER):
        metrics = {series.partition("{")[0] for which in CASES[name] for series in which}
        fitting = (pack for pack in packs if name not in LATER and not pack[1] & metrics)
        pack = next(fitting, None)
        if pack is None:
            packs.append(pack := ([], set()))
        pack[0].append(name)
        pack[1].update(metrics)
    return [names for names, _ in packs]


def case(names: list[str], *, fires: bool) -> dict[str, Any]:
    """That an alert fires is asked of the series `ALERTS`: its words are not looked at."""
    later = next((LATER[name] for name in names if name in LATER), None)
    series = {key: one for name in names for key, one in CASES[name][0 if fires else 1].items()}
    return {
        "name": f"{', '.join(names)}: {'firing' if fires else 'silent'}",
        "interval": "1m",
        "input_series": [
            {"series": key, "values": values.replace(LONG, "x400" if later else LONG)}
            for key, values in series.items()
        ],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)',
                "eval_time": later or LATE,
                "exp_samples": [{"value": int(fires), "labels": "{}"}],
            }
            for name in names
        ],
    }
