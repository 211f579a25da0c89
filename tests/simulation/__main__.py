"""Seeded runs: `python -m tests.simulation --seed 1 --runs 20 --steps 5000 --report FILE`."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from tests.simulation.driver import Run, run


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--report", type=Path)
    given = parser.parse_args(arguments)
    reports = [_reported(seed, given.steps) for seed in range(given.seed, given.seed + given.runs)]
    if given.report:
        given.report.write_text(json.dumps(reports, indent=1) + "\n", encoding="utf-8")
    return int(any(not report["ok"] for report in reports))


def _reported(seed: int, steps: int) -> dict[str, Any]:
    began = perf_counter()
    report = _report(run(seed, steps))
    report |= {"steps": steps, "took_sec": perf_counter() - began}
    words = ", ".join(f"{report[name]:,} {name}" for name in ("signals", "requests", "endings"))
    verdict = "ok" if report["ok"] else "VIOLATED"
    _say(
        f"seed {seed}: {verdict} ({words}, {report['virtual_sec']:,} s in {report['took_sec']:.1f})"
    )
    for line in report["faults"]:
        _say(f"  {line}")
    return report


def _report(one: Run) -> dict[str, Any]:
    store = one.world.store
    return {
        "seed": one.seed,
        "ok": not one.faults,
        "faults": one.faults,
        "digest": one.digest,
        "virtual_sec": round((store.now - store.events[0].at).total_seconds()),
        "signals": len(store.signals),
        "requests": len(one.world.requests),
        "endings": len(one.world.heard),
        "deliveries": Counter(row.state for row in store.deliveries.values()),
        "positions": Counter(row.state for row in store.positions.values()),
        "invariants": {f"{one.id} {one.name}": one.words for one in one.findings},
    }


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
