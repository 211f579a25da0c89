"""Files in and out: imports and how far they are, and what a configuration would change."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from web.views.settings_environment import size
from web.views.shell import Shell
from web.views.words import NOTHING, Moment, counted, moment

KINDS: Mapping[str, str] = {
    "import_signals": "Import of signals",
    "check_signals": "Dry run of an import",
}
EFFECTS: Mapping[str, str] = {
    "create": "is made",
    "change": "changes",
    "cannot": "stays as it is",
    "unchanged": "is so already",
    "only_here": "is not in the file, and stays",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemRow:
    """A record that was refused."""

    line: int
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """Long work: ``done`` of ``total`` bytes (None: nobody knows), and what came of it."""

    id: str
    what: str
    state: str
    sentence: str
    done: int
    total: int | None
    begun: Moment
    by: str
    running: bool
    problems: Sequence[ProblemRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """templates/settings_job.html and templates/partials/settings_job.html.

    ``job`` is None as long as nothing has arrived.
    """

    shell: Shell
    job: JobRow | None
    refused: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldDifference:
    """A field of a thing, as it is and as it becomes."""

    field: str
    was: str
    becomes: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferenceRow:
    """What becomes of one thing of a configuration file."""

    kind: str
    name: str
    effect: str
    acts: bool
    fields: Sequence[FieldDifference]
    notes: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffView:
    """What a file comes to; ``digest`` names exactly this. ``others`` are not touched by it."""

    sentence: str
    digest: str
    acts: bool
    rows: Sequence[DifferenceRow]
    others: Sequence[DifferenceRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSecret:
    """The signing key of a destination that an import made."""

    name: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesView:
    """templates/settings_files.html and templates/partials/settings_files.html.

    ``file`` is the configuration that was pasted, ``diff`` what it would change, ``secrets`` what
    applying it made.
    """

    shell: Shell
    jobs: Sequence[JobRow]
    root: str
    file: str
    diff: DiffView | None
    applied: str | None
    secrets: Sequence[NewSecret]
    refused: str | None


def job_row(job: Mapping[str, Any], now: datetime) -> JobRow:
    """A job as the API shows it."""
    state = "stalled" if job["stalled"] else job["state"]
    return JobRow(
        id=str(job["id"]),
        what=KINDS.get(job["kind"], job["kind"]),
        state=state,
        sentence=_sentence(job, state),
        done=job["done"],
        total=job["total"],
        begun=moment(job["made_at"], now),
        by=job["made_by"],
        running=job["state"] == "running",
        problems=[
            ProblemRow(line=one["line"], problem=one["problem"])
            for one in job["result"].get("problems", ())
        ],
    )


def _sentence(job: Mapping[str, Any], state: str) -> str:
    result = job["result"]
    how = {
        "running": _so_far(job),
        "stalled": "Nothing has moved for a minute: who was at it is gone, most likely",
        "done": "Done",
        "failed": f"Failed: {result.get('failure', 'the log says why')}",
        "cancelled": f"Cancelled by {result.get('cancelled_by', NOTHING)}",
    }[state]
    return f"{how}. {_counts(result)}"


def _so_far(job: Mapping[str, Any]) -> str:
    of = f" of {size(job['total'])}" if job["total"] else ""
    return f"{size(job['done'])}{of} read"


def _counts(result: Mapping[str, Any]) -> str:
    """What was read, and what became of it."""
    read, new, known, refused = (
        result.get(name, 0) for name in ("read", "imported", "skipped", "refused")
    )
    would = "would be imported" if result.get("dry_run") else "imported"
    return (
        f"{counted(read, 'signal', 'signals')} read: {new} {would}, {known} here already,"
        f" {refused} refused."
    )


# ── A configuration ─────────────────────────────────────────────────────────────────────────


def diff_view(answer: Mapping[str, Any]) -> DiffView:
    """What a file comes to, as the API tells it."""
    rows = [_row(one) for one in answer["differences"]]
    told = [one for one in rows if one.acts or one.notes]
    acts = sum(one.acts for one in rows)
    things = counted(acts, "thing", "things")
    sentence = f"{things} would change." if acts else "Nothing would change: it is all so already."
    return DiffView(
        sentence=sentence,
        digest=answer["digest"],
        acts=bool(acts),
        rows=told,
        others=[one for one in rows if one not in told],
    )


def _row(one: Mapping[str, Any]) -> DifferenceRow:
    return DifferenceRow(
        kind=one["kind"],
        name=one["name"],
        effect=EFFECTS[one["effect"]],
        acts=one["effect"] in {"create", "change"},
        fields=[
            FieldDifference(field=name, was=_said(it["was"]), becomes=_said(it["becomes"]))
            for name, it in one["fields"].items()
        ],
        notes=one["notes"],
    )


def _said(value: object) -> str:
    if value is None:
        return NOTHING
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
