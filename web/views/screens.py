"""Screens as people see them: their table, the form of one, and what a look at one brought."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from database.movements import Known
from domain.screen import EXAMPLE_URL, ScreenKind
from web.views.list_now import Rows, rows_of
from web.views.shell import Shell
from web.views.words import NOTHING, Moment, counted, duration, moment

MOST_TRIED = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenRow:
    """A screen among others; ``standing`` is in force, paused, kept or archived."""

    id: str
    name: str
    note: str
    kind: str
    top: str
    refresh: str
    wait: str
    standing: str
    warnings: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreensView:
    """templates/screens.html. ``typed`` is what was given to the import that was ``refused``."""

    shell: Shell
    rows: Sequence[ScreenRow]
    archived: bool
    paused: str | None
    refused: str | None
    typed: str
    found: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenForm:
    """What stands in the fields; ``wrong`` is the field that was refused, and ``why``."""

    name: str = ""
    note: str = ""
    url: str = ""
    top_n: str = ""
    refresh: str = ""
    margin: str = ""
    wait: str = ""
    tickers: str = ""
    valid_until: str = ""
    whole_market: bool = False
    slow_when_closed: bool = False
    version: str = ""
    wrong: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedView:
    """What a look brought. Nothing of it is kept."""

    outcome: str
    sentence: str
    tone: str
    detail: str
    witness: str
    took: str
    warnings: Sequence[str]
    surprise: str
    rows: Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerScreen:
    """A screen at one of its versions."""

    version: int
    words: str
    made: Moment
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenView:
    """templates/screen.html. ``id`` is "" of one that is not kept yet.

    ``would`` says what putting it in force means; of one that cannot be, nothing.
    """

    shell: Shell
    id: str
    title: str
    fixed: bool
    standing: str
    form: ScreenForm
    warnings: Sequence[str]
    tried: TriedView | None
    would: Sequence[str]
    versions: Sequence[FormerScreen]
    refused: str | None


def standing(one: Mapping[str, Any], *, paused: bool) -> str:
    if one["archived_at"]:
        return "archived"
    if one["active"]:
        return "paused" if paused else "active"
    return "kept"


def screen_row(one: Mapping[str, Any], *, paused: bool) -> ScreenRow:
    """A row of what the API shows of a screen."""
    fixed = one["kind"] == ScreenKind.FIXED
    return ScreenRow(
        id=str(one["id"]),
        name=one["name"],
        note=one["note"],
        kind="fixed list" if fixed else "Finviz",
        top=_top(one),
        refresh=NOTHING if fixed else duration(timedelta(seconds=one["refresh"])),
        wait=duration(timedelta(seconds=one["wait"])) if one["wait"] else "off",
        standing=standing(one, paused=paused),
        warnings=len(one["warnings"]),
    )


def _top(one: Mapping[str, Any]) -> str:
    return f"{one['top_n']} + {one['margin']}" if one["margin"] else str(one["top_n"])


def form_of(one: Mapping[str, Any]) -> ScreenForm:
    """The fields of a screen as the API shows it."""
    until: datetime | None = one["valid_until"]
    every = one["top_n"] == len(one["tickers"] or ())
    return ScreenForm(
        name=one["name"],
        note=one["note"],
        url=one["url"] or "",
        top_n="" if every else str(one["top_n"]),
        refresh=f"{one['refresh']:g}",
        margin=str(one["margin"]),
        wait=f"{one['wait']:g}",
        tickers=", ".join(one["tickers"] or ()),
        valid_until=f"{until.astimezone(UTC):%Y-%m-%dT%H:%M:%S}" if until else "",
        whole_market=one["whole_market"],
        slow_when_closed=one["slow_when_closed"],
        version=str(one["version"]),
    )


def new_form(*, fixed: bool, refresh: timedelta, now: datetime) -> ScreenForm:
    """The fields of a screen that is not there yet, with what is usual."""
    tomorrow = f"{now.astimezone(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M:%S}"
    return ScreenForm(
        url="" if fixed else str(EXAMPLE_URL),
        top_n="" if fixed else "15",
        refresh=f"{refresh.total_seconds():g}",
        margin="0",
        wait="0",
        valid_until=tomorrow if fixed else "",
        slow_when_closed=True,
    )


def typed_form(fields: Mapping[str, str], wrong: str = "", why: str = "") -> ScreenForm:
    """The fields as they were sent."""
    names = ("name", "note", "url", "top_n", "refresh", "margin", "wait", "tickers", "version")
    return ScreenForm(
        **{name: fields.get(name, "") for name in names},
        valid_until=fields.get("valid_until", "")[:19],
        whole_market="whole_market" in fields,
        slow_when_closed="slow_when_closed" in fields,
        wrong=wrong,
        why=why,
    )


def tried_view(found: Mapping[str, Any], margin: int) -> TriedView:
    read = len(found["rows"])
    total = NOTHING if found["total"] is None else found["total"]
    counts = sum(row["counts"] for row in found["rows"])
    is_list = found["outcome"] in {"ok", "empty"}
    sentence = (
        f"{read} of {total} rows read; {counts} would be in"
        + (f", and {margin} more could stay in." if margin else ".")
        if is_list
        else "No list could be read: buys would be rejected by this screen."
    )
    return TriedView(
        outcome=found["outcome"],
        sentence=sentence,
        tone="bad" if not is_list else "warn" if found["warnings"] else "good",
        detail=found["detail"],
        witness=found["witness"] or "",
        took=f"{found['took_sec']:.1f} s",
        warnings=found["warnings"],
        surprise=found["surprise"] or "",
        rows=rows_of([one | {"kept": False} for one in found["rows"]], None, most=MOST_TRIED),
    )


def fixed_words(
    one: Mapping[str, Any], active: str, in_force: Sequence[str], now: datetime
) -> list[str]:
    """What putting a fixed list in force means for buys: no look has to come first."""
    top = one["tickers"][: one["top_n"]]
    was, size = (counted(len(names), "ticker", "tickers") for names in (in_force, top))
    left = one["valid_until"] - now
    lasts = (
        f"its {size} {'counts' if len(top) == 1 else 'count'} within seconds, for {duration(left)}."
        if left > timedelta(0)
        else "it has ended, and every buy is rejected until it gets a new end."
    )
    shared = len(frozenset(in_force) & frozenset(top))
    return [
        f"It replaces “{active}”, whose list has {was}. Nobody is asked for it: {lasts}",
        f"{shared} of {len(top)} are in the other as well.",
    ]


def would_words(
    one: Mapping[str, Any],
    active: str,
    in_force: Sequence[str],
    known: Known | None,
    max_age: timedelta,
) -> list[str]:
    """What putting a screen in force means for buys, with numbers."""
    name, now = one["name"], counted(len(in_force), "ticker", "tickers")
    words = [f"It replaces “{active}”, whose list has {now}. Finviz is asked for it at once."]
    if known is None:
        words.append(
            f"“{name}” has no list yet: until its first look has ended well, every buy is rejected."
        )
        return words
    top = known.tickers[: one["top_n"]]
    shared = len(frozenset(in_force) & frozenset(top))
    age, size = duration(known.age), counted(len(top), "ticker", "tickers")
    counts = (
        "It counts until the first look has ended."
        if known.age <= max_age
        else "That is too old to buy by: until a look has ended well, every buy is rejected."
    )
    return [
        *words,
        f"Its last list is {age} old: {size}, {shared} of them also in the other. {counts}",
    ]


def former_screen(one: Mapping[str, Any], now: datetime) -> FormerScreen:
    what = one["url"] or counted(len(one["tickers"] or ()), "ticker", "tickers")
    refresh = "" if one["kind"] == ScreenKind.FIXED else f", every {one['refresh']:g} s"
    wait = f", wait {one['wait']:g} s" if one["wait"] else ""
    force = "in force: " if one["active"] else ""
    return FormerScreen(
        version=one["version"],
        words=f"{force}top {_top(one)}{refresh}{wait}, {what}",
        made=moment(one["made_at"], now),
        by=one["made_by"] or NOTHING,
    )
