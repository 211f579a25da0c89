"""What a mode measured: numbers, its own faults, and what the checker found; printed and kept."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.checker import violations
from tests.chaos.findings import Finding
from tests.chaos.records import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """``faults`` are the limits of the mode itself that were not kept, in words."""

    mode: str
    numbers: dict[str, Any]
    faults: list[str] = field(default_factory=list[str])
    findings: Sequence[Finding] = ()

    @property
    def broken(self) -> list[str]:
        return [*self.faults, *violations(self.findings)]

    def tell(self, say: Callable[[str], None]) -> None:
        say(f"{self.mode}: {json.dumps(self.numbers, ensure_ascii=False)}")
        for finding in self.findings:
            say("\n".join(finding.lines))
        for fault in self.faults:
            say(f"    {fault}")


def write(path: Path, machine: dict[str, Any], results: Sequence[Result]) -> None:
    whole = {
        "machine": machine,
        "violations": sum(len(result.broken) for result in results),
        "results": [
            {
                "mode": result.mode,
                **result.numbers,
                "faults": result.faults[:20],
                "findings": [
                    {"line": each.line, "faults": list((each.faults or ())[:20])}
                    for each in result.findings
                ],
            }
            for result in results
        ],
    }
    path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")


def megabytes(samples: Sequence[Sample]) -> dict[str, float]:
    """Of one or more replicas: where it began, the most, where it ended."""
    sizes = [sample.resident / 1e6 for sample in samples]
    if not sizes:
        return {}
    return {"start": round(sizes[0]), "most": round(max(sizes)), "end": round(sizes[-1])}
