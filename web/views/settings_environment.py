"""What the environment says, and how much is kept for how long."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from database.sizes import Sizes, Table
from web.views.shell import Shell
from web.views.words import NOTHING, Moment, moment

GROUPS: Mapping[str, Mapping[str, str]] = {
    "How signals are judged": {
        "BUY_TTL_SEC": "seconds a buy lives",
        "SELL_TTL_SEC": "seconds a sell lives",
        "DEDUPE_WINDOW_SEC": "seconds in which the same bytes are one alert",
        "SELL_POLICY": "what a sell needs",
        "LIST_MAX_AGE_SEC": "seconds until a list is stale; not set: three refreshes, at least 180",
        "WORKER_CONCURRENCY": "workers that judge",
        "QUEUE_MAX_SIZE": "backlog beyond which alerts are answered 503",
    },
    "How they leave": {
        "FORWARDING_WORKERS": "requests under way at one destination at a time",
        "SELL_RESERVED_SHARE": "part of every rate window that only sells may use",
        "PRIVATE_DESTINATIONS": "own networks that destinations may be in",
    },
    "The list": {
        "FINVIZ_USE_ELITE": "whether the Elite account is used",
        "FINVIZ_AUTH_TOKEN": "its export token",
        "FINVIZ_EMAIL": "its sign-in",
        "FINVIZ_SLOW_WHEN_CLOSED": "look more rarely while the market is closed",
        "FINVIZ_CONFIG_FILE": "the file that screens are exported to",
    },
    "Who may do what": {
        "WEBHOOK_TOKEN": "posts alerts",
        "FINVIZ_UPDATE_TOKEN": "reads, configures and trades",
        "ADMIN_TOKEN": "everything",
        "ENCRYPTION_KEY": "seals addresses, keys and bodies",
        "ENCRYPTION_KEY_OLD": "opens what is not sealed anew yet",
        "ALLOW_UNAUTHENTICATED_INGRESS": "alerts without a token",
        "SESSION_IDLE_MIN": "minutes until an unused sign-in ends",
        "SESSION_MAX_H": "hours until any sign-in ends",
    },
    "Where it runs": {
        "HOST": "where it listens",
        "PORT": "at which port",
        "PUBLIC_URL": "the address others reach it by",
        "TRUSTED_PROXIES": "proxies whose word on addresses is believed",
        "DATABASE_URL": "a PostgreSQL of your own; not set: the embedded one",
        "DATABASE_OWNER_URL": "who migrates; not set: DATABASE_URL's login",
        "DATA_DIR": "database files, logs, generated secrets",
        "WORKERS": "processes that share the port",
        "SHUTDOWN_GRACE_SEC": "seconds to finish what is under way",
        "LOG_LEVEL": "how much is logged",
    },
    "Being told": {
        "SMTP_URL": "the server that takes e-mail",
        "HEARTBEAT_URL": "called every minute while ready",
    },
}
WHAT: Mapping[str, str] = {
    "signals": "signals, a week at least, once nothing of them is unfinished",
    "events": "the audit trail, with the signals it is about",
    "deliveries": "with their signals",
    "attempts": "with their deliveries",
    "positions": "closed and void ones",
    "universes": "versions of the list; the newest of each screen stays",
    "fetches": "looks at Finviz",
    "batches": "commands of which no signal is left",
    "attention": "resolved items",
    "jobs": "imports that ended",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VariableRow:
    name: str
    value: str
    means: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VariableGroup:
    title: str
    variables: Sequence[VariableRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """A table: about so many rows, and how many were deleted since this replica started."""

    name: str
    what: str
    rows: str
    size: str
    deleted: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentView:
    """templates/settings_environment.html."""

    shell: Shell
    schema: str
    newest: str
    groups: Sequence[VariableGroup]
    days: str
    size: str
    oldest: Moment | None
    tables: Sequence[TableRow]


def groups(values: Mapping[str, str]) -> list[VariableGroup]:
    """The variables that are known here, in groups; none of their secrets."""
    return [
        VariableGroup(
            title=title,
            variables=[
                VariableRow(name=name, value=values[name], means=means)
                for name, means in names.items()
                if name in values
            ],
        )
        for title, names in GROUPS.items()
    ]


def table_row(table: Table, deleted: Mapping[str, float]) -> TableRow:
    return TableRow(
        name=table.name,
        what=WHAT[table.name],
        rows=NOTHING if table.rows is None else f"{table.rows:,}",
        size=size(table.bytes),
        deleted=f"{deleted.get(table.name, 0):,.0f}",
    )


def size(number: int) -> str:
    """A number of bytes in words."""
    for limit, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if number >= limit:
            return f"{number / limit:.1f} {unit}"
    return f"{number} B"


def oldest(sizes: Sizes, now: datetime) -> Moment | None:
    return sizes.oldest and moment(sizes.oldest, now)
