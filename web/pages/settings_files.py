"""The pages of files: exports, imports with their progress, the configuration with its diff."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import ValidationError

from database import jobs
from database.jobs import JobId
from web import config_files, imports
from web.dependencies import Parts
from web.errors import ProblemError
from web.pages.forms import Done, Fields, act
from web.pages.settings import first_problem, proved, shown
from web.pages.shell import Page, Visiting, Visitor
from web.payloads_config import ConfigFile, ConfigImport
from web.sources import root
from web.views.settings_files import DiffView, FilesView, JobView, NewSecret, diff_view, job_row
from web.views.words import counted

router = APIRouter(prefix="/admin", include_in_schema=False)

HERE = "/admin/settings/files"
JOBS = 10
MOST_BYTES = 4 * config_files.MOST_BYTES
"""Of a form with a configuration: most signs of JSON are written as three bytes."""


@router.get("/settings/files")
async def files_page(visitor: Visiting) -> Response:
    """What can be taken out and in."""
    return Page("settings_files.html", await _files(visitor)).render()


@router.get("/partials/settings/files")
async def files_partial(visitor: Visiting) -> Response:
    """What a live page reads again: the last imports."""
    return Page("partials/settings_files.html", await _files(visitor)).render()


@router.get("/settings/jobs/{id}")
async def job_page(id: UUID, visitor: Visiting) -> Response:
    """How far an import is."""
    return (await _job_page(visitor, id)).render()


@router.get("/partials/settings/jobs/{id}")
async def job_partial(id: UUID, visitor: Visiting) -> Response:
    """What a page reads again while it runs; it may not have begun."""
    return Page("partials/settings_job.html", await _job(visitor, id)).render()


@router.post("/settings/jobs/{id}/cancel")
async def cancel(id: UUID, visitor: Visiting, parts: Parts) -> Response:
    """End an import where it is."""

    async def do(_fields: Fields) -> Done:
        job = await imports.cancel_job(id, parts, visitor.name)
        kept = counted(job["result"].get("imported", 0), "signal", "signals")
        if not job["changed"]:
            return Done(f"/admin/settings/jobs/{id}", "It had ended before.")
        words = f"Cancelled. What was imported stays: {kept}."
        if job["kind"] == "check_signals":
            words = "Cancelled. It was a dry run: nothing was imported."
        return Done(f"/admin/settings/jobs/{id}", words)

    async def again(_fields: Fields, words: str) -> Page:
        return await _job_page(visitor, id, words)

    return await act(visitor, do, again)


@router.post("/settings/files/look", max_body_size=MOST_BYTES)
async def look(visitor: Visiting, parts: Parts) -> Response:
    """Say what a configuration would change; nothing is."""

    async def do(fields: Fields) -> Page:
        given = ConfigImport(file=_file(fields), digest=None)
        answer = await config_files.import_config(given, parts, visitor.name)
        view = await _files(visitor, fields, diff=diff_view(answer))
        return Page("settings_files.html", view)

    return await shown(visitor, do, _again(visitor), most=MOST_BYTES)


@router.post("/settings/files/apply", max_body_size=MOST_BYTES)
async def apply(visitor: Visiting, parts: Parts) -> Response:
    """Apply a configuration, if it comes to what was shown."""

    async def do(fields: Fields) -> Page:
        given = ConfigImport(file=_file(fields), apply=True, digest=fields.get("digest"))
        answer = await config_files.import_config(given, parts, visitor.name)
        return Page("settings_files.html", await _files(proved(visitor), applied=answer))

    async def again(fields: Fields, words: str) -> Page:
        given = ConfigImport(file=_file(fields), digest=None)
        answer = await config_files.import_config(given, parts, visitor.name)
        view = await _files(visitor, fields, diff=diff_view(answer), refused=words)
        return Page("settings_files.html", view)

    return await shown(visitor, do, again, sensitive=True, most=MOST_BYTES)


def _again(visitor: Visitor) -> Any:
    async def again(fields: Fields, words: str) -> Page:
        return Page("settings_files.html", await _files(visitor, fields, refused=words))

    return again


def _file(fields: Mapping[str, str]) -> ConfigFile:
    """The configuration that was pasted. Raises ProblemError."""
    try:
        return ConfigFile.model_validate_json(fields.get("file", ""))
    except ValidationError as error:
        raise first_problem(error, {"format": "format"}) from None


async def _files(
    visitor: Visitor,
    fields: Mapping[str, str] | None = None,
    *,
    diff: DiffView | None = None,
    applied: Mapping[str, Any] | None = None,
    refused: str | None = None,
) -> FilesView:
    parts, now = visitor.parts, visitor.parts["clock"]()
    async with parts["pages"].read() as connection:
        shell = await visitor.shell(connection, "settings")
        found = await jobs.newest(connection, JOBS)
    secrets: Mapping[str, str] = applied["signing_secrets"] if applied else {}
    return FilesView(
        shell=shell,
        jobs=[job_row(one, now) for one in found],
        root=root(visitor.request, parts),
        file=(fields or {}).get("file", ""),
        diff=diff,
        applied=_applied(applied) if applied else None,
        secrets=[NewSecret(name=name, secret=secret) for name, secret in secrets.items()],
        refused=refused,
    )


def _applied(answer: Mapping[str, Any]) -> str:
    effects = [one["effect"] for one in answer["differences"]]
    made, changed = effects.count("create"), effects.count("change")
    return f"Applied: {counted(made, 'thing', 'things')} made, {changed} changed."


async def _job_page(visitor: Visitor, id: UUID, refused: str | None = None) -> Page:
    """The page of a job. Raises ProblemError where there is none."""
    view = await _job(visitor, id, refused)
    if view.job is None:
        raise ProblemError(404, "no_such_job", "There is no job with this id.")
    return Page("settings_job.html", view)


async def _job(visitor: Visitor, id: UUID, refused: str | None = None) -> JobView:
    parts = visitor.parts
    async with parts["pages"].read() as connection:
        shell = await visitor.shell(connection, "settings")
        job = await jobs.one(connection, JobId(id))
    row = job_row(job, parts["clock"]()) if job else None
    return JobView(shell=shell, job=row, refused=refused)
