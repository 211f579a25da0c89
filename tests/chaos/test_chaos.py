"""The promises counted while replicas, the database and the destination are struck down."""

from collections import Counter
from pathlib import Path

import pytest

from launcher.terminal import say
from tests.chaos.checker import violations
from tests.chaos.report import Report
from tests.chaos.run import Plan, run
from tests.chaos.stage import Scene

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SHORT = {"kill": 4, "stop": 1, "roll": 1, "crash": 1, "blackhole": 1}
LONG = {
    "kill": 40,
    "stop": 6,
    "roll": 3,
    "crash": 4,
    "outage": 2,
    "blackhole": 3,
    "partition": 3,
    "slow": 2,
    "reset": 3,
    "cut": 3,
}


async def test_every_promise_is_kept(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """With --long ten minutes and three replicas; else two, until each blow has fallen."""
    is_long = request.config.getoption("--long")
    plan = Plan(
        scene=Scene(replicas=3 if is_long else 2, seed=11),
        blows=LONG if is_long else SHORT,
        alerts=3_000 if is_long else 200,
        minutes=10 if is_long else 8,  # it ends when all has befallen: a slow machine takes longer
        pause=(3.0, 8.0) if is_long else (3.0, 4.0),
    )
    report = Report(tmp_path / "report.json")
    findings = await run(plan, tmp_path, report, say)
    assert violations(findings) == []
    done = Counter(report.verified)
    wanted = Counter({kind: count for kind, count in plan.blows.items() if kind != "roll"})
    assert wanted <= done
    assert done["terminate"] >= plan.scene.replicas * plan.blows["roll"]
    assert done["acknowledged"] >= 200
