"""The report of a run: what was done, what was counted, on what machine; rewritten as it goes."""

import json
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.findings import Finding
from tests.chaos.records import Blow
from tests.chaos.stage import Stage

FORMAT = 1


def totals(stage: Stage) -> dict[str, int]:
    """What was done so far."""
    alerts = stage.load.alerts
    blows = Counter(_named(blow) for blow in stage.blows)
    return {
        "alerts": len(alerts),
        "sends": sum(len(alert.sends) for alert in alerts),
        "acknowledged": sum(1 for alert in alerts if alert.acknowledged_at is not None),
        "requests": sum(len(each.arrivals) for each in stage.destinations),
        **{kind: blows[kind] for kind in sorted(blows)},
        "kill_at_failpoint": sum(1 for b in stage.blows if b.kind == "kill" and b.note),
    }


def _named(blow: Blow) -> str:
    return f"mood_{blow.note}" if blow.kind == "mood" else blow.kind


@dataclass(slots=True)
class Report:
    """One file for a run and those that resumed it. Only what was checked counts as verified."""

    path: Path | None = None
    machine: Mapping[str, Any] = field(default_factory=dict[str, Any])
    runs: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    @property
    def verified(self) -> Counter[str]:
        counted: Counter[str] = Counter()
        for run in self.runs:
            counted.update(run.get("verified", {}))
        return counted

    @property
    def violations(self) -> int:
        return sum(len(each["faults"]) for run in self.runs for each in run.get("findings", ()))

    def begin(self, **about: Any) -> None:
        self.runs.append({**about, "totals": {}, "verified": {}, "findings": []})
        self.write()

    def progress(self, stage: Stage, minutes: float) -> None:
        """Note what was done, not yet checked."""
        self.runs[-1].update(
            minutes=round(minutes, 1),
            totals=totals(stage),
            harness_lag_ms=round(stage.lag * 1000),
            skipped_alerts=stage.load.skipped,
            starts_sec=_spread([took for each in stage.replicas for took in each.starts]),
        )
        self.write()

    def verify(self, stage: Stage, findings: Sequence[Finding]) -> None:
        self.runs[-1].update(verified=totals(stage), findings=[_plain(each) for each in findings])
        if stage.watch_for:
            self.runs[-1]["canaries"] = stage.watch_for.told()
        self.write()

    def finish(self) -> None:
        self.runs[-1]["finished"] = True
        self.write()

    def write(self) -> None:
        """Replace the file in one step."""
        if self.path is None:
            return
        whole = {
            "format": FORMAT,
            "machine": self.machine,
            "verified": dict(self.verified),
            "violations": self.violations,
            "runs": self.runs,
        }
        unfinished = self.path.with_suffix(".new")
        unfinished.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
        unfinished.rename(self.path)


def resumed(path: Path) -> list[dict[str, Any]]:
    """The runs of an earlier report, as far as they were checked; none where there is none yet."""
    if not path.exists():
        return []
    return [run for run in json.loads(path.read_text())["runs"] if run.get("verified")]


def machine(postgres: str | None = None) -> dict[str, Any]:
    return {
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "system": platform.system(),
        "python": platform.python_version(),
        "postgres": postgres,
    }


def _plain(finding: Finding) -> dict[str, Any]:
    faults = list((finding.faults or ())[:20])
    return {
        "id": finding.id,
        "line": finding.line,
        "applies": finding.faults is not None,
        "violations": len(finding.faults or ()),
        "faults": faults,
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    if not ordered:
        return {}
    return {"median": round(ordered[len(ordered) // 2], 2), "slowest": round(ordered[-1], 2)}
