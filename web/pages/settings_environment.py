"""The page of what only the environment can change, and of what is kept for how long."""

from collections.abc import Mapping

from fastapi import APIRouter
from fastapi.responses import Response

from database import migrate, sizes
from engines.metrics import Metrics
from web.dependencies import Parts
from web.pages.shell import Page, Visiting
from web.views.settings_environment import EnvironmentView, groups, oldest, size, table_row
from web.views.words import NOTHING

router = APIRouter(prefix="/admin", include_in_schema=False)


@router.get("/settings/environment")
async def environment_page(visitor: Visiting, parts: Parts) -> Response:
    """The settings as they are, and where to change them."""
    async with parts["pages"].read() as connection:
        shell = await visitor.shell(connection, "settings")
        found = await sizes.measured(connection)
        schema = await migrate.applied(connection)
    deleted = _deleted(parts["metrics"])
    view = EnvironmentView(
        shell=shell,
        schema=schema or NOTHING,
        newest=migrate.head(),
        groups=groups(parts["settings"]),
        days=parts["settings"]["RETENTION_DAYS"],
        size=size(found.bytes),
        oldest=oldest(found, parts["clock"]()),
        tables=[table_row(one, deleted) for one in found.tables],
    )
    return Page("settings_environment.html", view).render()


def _deleted(metrics: Metrics) -> Mapping[str, float]:
    """Rows that this replica deleted by age since it started, by table."""
    samples = (one for family in metrics.deleted.collect() for one in family.samples)
    return {one.labels["table"]: one.value for one in samples if one.name.endswith("_total")}
