"""Ways of a search: which index leads to the signals of a filter, the rarest first.

A way is written so that its index is the only one with the order that is asked for: a column and
`seq` are compared as one row, and no `=` tells the planner that the column does not matter. So the
plan hangs on no estimate, which of rare values, and of values it does not see, are often wrong.
"""

from dataclasses import dataclass

from database.wanted import Kept, Wanted
from domain.signal import WEBHOOK

LOOK, LOOK_AROUND, LOOK_SENT = 10_000, 2_500, 1_250
"""Rows that are looked through for one page: one after the other, scattered over the table, or
deliveries, each with its signal. Looking for a text in one costs as much again."""

COMMON = ("not_in_list", "expired")
"""Reasons that are found along their status; the index of reasons is spared them."""

_FAILED = "state IN ('dead', 'expired', 'superseded', 'cancelled')"
_RARE_REASON = "reason NOT IN ('not_in_list', 'expired')"
_OTHER_SOURCE = f"source <> '{WEBHOOK}'"
_JUDGED = "status <> 'received'"
_EVERY = "true"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A part of a way: between which `seq` (both included), in which order, how many at most."""

    first: int
    last: int
    order: str
    look: int

    @property
    def most(self) -> str:
        """Not told to the planner, who would rather sort all of it where he expects less than that.

        He takes a tenth for granted then, for which nothing is as cheap as the index.
        """
        return f"LIMIT (SELECT {self.look})"


@dataclass(frozen=True, slots=True)
class Way:
    """Rows with a `seq` (SQL): signals, or ``deliveries`` of them.

    ``condition`` is that of the index. With a ``column`` only the rows where it is the ``value``.
    """

    condition: str
    column: str = ""
    value: str = ""
    deliveries: bool = False

    def look(self, share: int) -> int:
        """How many of its rows are looked through: a share of what would be alone."""
        near = LOOK if self.condition == _EVERY and not self.column else LOOK_AROUND
        return max(1, (LOOK_SENT if self.deliveries else near) // share)

    def rows(self, on: Stretch, kept: Kept, limit: int) -> str:
        """The signals of a stretch that are ``kept``; a row is asked about when its turn comes."""
        order, found = self._order(on), self._found(on)
        if not self.deliveries:
            return (
                f"SELECT * FROM (SELECT * FROM signals {found} {on.most}) AS signals"
                f" WHERE {kept.signal} ORDER BY {order} LIMIT {limit}"
            )
        names = ", ".join(self._names())
        return (
            f"SELECT signals.* FROM (SELECT signal_id, {names} FROM ("
            f"SELECT DISTINCT ON ({names}) signal_id, ticker, side, {names}"
            f" FROM deliveries {found} {on.most}) AS sent WHERE {kept.delivery}) AS sent"
            " CROSS JOIN LATERAL (SELECT * FROM signals WHERE id = sent.signal_id LIMIT 1)"
            f" AS signals WHERE {kept.signal} ORDER BY {self._order(on, 'sent.')} LIMIT {limit}"
        )

    def end(self, on: Stretch) -> str:
        """The `seq` of the last row of a stretch; null where the way ends before."""
        table = "deliveries" if self.deliveries else "signals"
        return f"(SELECT seq FROM {table} {self._found(on)} OFFSET (SELECT {on.look - 1}) LIMIT 1)"

    def _found(self, on: Stretch) -> str:
        within = f"seq >= {on.first} AND seq <= {on.last}"
        if self.column:
            within = (
                f"({self.column}, seq) >= ({self.value}, {on.first})"
                f" AND ({self.column}, seq) <= ({self.value}, {on.last})"
            )
        return f"WHERE {self.condition} AND {within} ORDER BY {self._order(on)}"

    def _order(self, on: Stretch, of: str = "") -> str:
        return ", ".join(f"{of}{name} {on.order}" for name in self._names())

    def _names(self) -> tuple[str, ...]:
        return (self.column, "seq") if self.column else ("seq",)


def ways(wanted: Wanted) -> list[list[Way]]:
    """The indexes that could lead to these signals, the rarest first; each a set of ways."""
    found: list[list[Way]] = []
    if wanted.ids:
        found.append([Way("id BETWEEN CAST(:first_id AS uuid) AND CAST(:last_id AS uuid)")])
    found += _along_status(wanted.status)
    if wanted.tickers and not wanted.beginnings:
        places = range(1, len(wanted.tickers) + 1)
        found.append([Way("true", "ticker", f"(CAST(:tickers AS text[]))[{n}]") for n in places])
    if wanted.reason and wanted.reason not in COMMON:
        found.append([Way(_RARE_REASON, "reason", "CAST(:reason AS text)")])
    if wanted.source and wanted.source != WEBHOOK:
        found.append([Way(_OTHER_SOURCE, "source", "CAST(:source AS text)")])
    if wanted.reason == "not_in_list":
        found.append([_judged("rejected")])
    if wanted.status in {"approved", "delivered", "rejected"}:
        found.append([_judged("rejected" if wanted.status == "rejected" else "approved")])
    elif wanted.destination:
        found.append([_judged("approved")])
    return found or [[Way(_EVERY)]]


def _judged(status: str) -> Way:
    return Way(_JUDGED, "status", f"'{status}'")


def _along_status(status: str | None) -> list[list[Way]]:
    """The statuses that few signals have."""
    failed = Way(_FAILED, "state", f"'{status}'", deliveries=True)
    match status:
        case "received":
            undecided = "status = 'received' AND waits_until IS"
            return [[Way(f"{undecided} NULL"), Way(f"{undecided} NOT NULL")]]
        case "invalid":
            return [[_judged("invalid")]]
        case "queued" | "sending" | "held":
            return [[Way(f"state = '{status}' AND finished_at IS NULL", deliveries=True)]]
        case "expired":
            return [[_judged("expired"), failed]]
        case "dead" | "superseded" | "cancelled":
            return [[failed]]
        case _:
            return []
