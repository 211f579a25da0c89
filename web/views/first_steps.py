"""First steps: what is to be done before alerts are forwarded; told from rows, never stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from database.statistics import FirstSteps, Knock, Standing
from domain.destination import DestinationState, Mode
from domain.screen import EXAMPLE_URL
from web.views.lists import ListView
from web.views.shell import Shell
from web.views.words import Moment, counted, moment

SHOWN_TICKERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """A step; ``at`` is the moment that ``words`` end with, ``action`` leads ``to`` its page."""

    name: str
    title: str
    done: bool
    optional: bool
    words: str
    at: Moment | None
    action: str
    to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checklist:
    """What connects the relay, ticked as it happens. ``knock`` is when a wrong token came.

    ``public`` tells whether TradingView can reach ``webhook``, as far as the address says. Once
    everything was there the relay has ``begun``, though something may be missing again.
    """

    webhook: str
    public: bool
    knock: Moment | None
    knocker: str
    done: int
    required: int
    begun: bool
    steps: Sequence[StepRow]

    @property
    def finished(self) -> bool:
        return self.done == self.required


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstStepsView:
    """templates/first_steps.html and templates/partials/first_steps.html."""

    shell: Shell
    checklist: Checklist


def checklist(
    found: FirstSteps,
    standings: Sequence[Standing],
    view: ListView,
    *,
    webhook: str,
    knock: Knock | None,
    now: datetime,
) -> Checklist:
    steps = [_alerts(found, now), _destination(standings), _list(view), _told(found)]
    required = [one for one in steps if not one.optional]
    return Checklist(
        webhook=webhook,
        public=webhook.startswith("https:"),
        knock=moment(knock.at, now) if knock else None,
        knocker=(knock and knock.origin) or "an unknown address",
        done=sum(one.done for one in required),
        required=len(required),
        begun=bool(found.heard_at and standings and found.listed),
        steps=steps,
    )


def _alerts(found: FirstSteps, now: datetime) -> StepRow:
    return StepRow(
        name="connect",
        title="Connect TradingView",
        done=found.heard_at is not None,
        optional=False,
        words="The last alert came" if found.heard_at else "No alert has come yet.",
        at=moment(found.heard_at, now) if found.heard_at else None,
        action="Make an alert message",
        to="/admin/doctor",
    )


def _destination(standings: Sequence[Standing]) -> StepRow:
    enabled = [one for one in standings if one.state == DestinationState.ENABLED]
    if enabled:
        dry = sum(one.mode == Mode.DRY_RUN for one in enabled)
        words = f"In use: {', '.join(one.name for one in enabled)}"
        words += f", {dry} of them in dry run: nothing leaves for it." if dry else "."
    elif standings:
        words = f"{', '.join(one.name for one in standings)}: not in use."
    else:
        words = "There is none: approved signals would go nowhere."
    return StepRow(
        name="destination",
        title="Set a destination",
        done=bool(enabled),
        optional=False,
        words=words,
        at=None,
        action="See the destinations" if enabled else "Set a destination",
        to="/admin/destinations",
    )


def _list(view: ListView) -> StepRow:
    if view.version is None:
        looked = (one.rstrip(".") for one in (view.outcome, view.detail) if one)
        words = f"{': '.join(['No list yet', *looked])}."
    else:
        first = ", ".join(one.ticker for one in view.tickers[:SHOWN_TICKERS]) or "no ticker"
        words = f"{view.screen} has {counted(len(view.tickers), 'ticker', 'tickers')}: {first}"
        words += " …" if len(view.tickers) > SHOWN_TICKERS else "."
    if view.url == str(EXAMPLE_URL):
        words += " This is the example screen: put your own in its place."
    return StepRow(
        name="list",
        title="Check the list",
        done=view.version is not None,
        optional=False,
        words=words,
        at=None,
        action="See the list",
        to="/admin/list",
    )


def _told(found: FirstSteps) -> StepRow:
    if found.channels:
        words = counted(found.channels, "channel tells", "channels tell") + " what wants a look."
    else:
        words = "Nobody is told when a sell does not arrive: add e-mail, Telegram or another."
    return StepRow(
        name="told",
        title="Be told",
        done=bool(found.channels),
        optional=True,
        words=words,
        at=None,
        action="Add a channel" if not found.channels else "See the channels",
        to="/admin/settings/channels",
    )
