"""What callers may send to replay, resend, cancel and resolve, one or many."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from database.resolutions import Resolution
from database.selections import MOST, Selection
from domain.delivery import DeliveryState
from domain.signal import Side, SignalStatus
from web.errors import ProblemError
from web.moments import Moment
from web.payloads import Word, invalid
from web.signals import named

MOST_IDS = 1_500
"""What a body has room for; more than MOST are refused by a word of their own."""

Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


def too_many() -> ProblemError:
    words = f"At most {MOST} in one command: narrow the filter, or take one part after the other."
    return ProblemError(400, "too_many", words)


class Forced(Word):
    """``force`` overrides what an operator with a ``reason`` may override."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"force": True, "reason": "the broker was down"}]}
    )

    force: bool = Field(default=False, strict=True)

    def checked(self) -> "Forced":
        """Raises ProblemError where somebody forces without a reason."""
        if self.force and self.reason is None:
            raise invalid("reason", "reason is needed with force")
        return self


class DeliveryFilter(BaseModel):
    """All that is said must be so. ``since`` and ``until``: when the signal was received."""

    model_config = ConfigDict(extra="forbid")

    state: DeliveryState | None = None
    reason: Text | None = None
    destination: UUID | None = None
    ticker: str | None = Field(None, min_length=1, max_length=40)
    side: Side | None = None
    source: Text | None = None
    since: Moment | None = None
    until: Moment | None = None

    def selection(self) -> Selection:
        """Raises ProblemError where nothing is said: everything is chosen by nobody's mistake."""
        given: dict[str, Any] = {name: getattr(self, name) for name in type(self).model_fields}
        if not any(given.values()):
            raise invalid("filter", "filter must say something")
        given["ticker"] = named(self.ticker)
        return Selection(**given)


class SignalFilter(DeliveryFilter):
    """``status`` is the verdict's; ``state`` and ``destination`` are of one of its deliveries."""

    status: SignalStatus | None = None


class Many(Word):
    """Either ``ids`` or a ``filter``; to be seen first, or done to exactly as many as expected."""

    ids: list[UUID] | None = Field(None, min_length=1, max_length=MOST_IDS)
    filter: DeliveryFilter | None = None
    preview: bool = Field(default=False, strict=True)
    expect: int | None = Field(None, strict=True, ge=1)

    def selection(self) -> Selection:
        """Raises ProblemError unless it is clear what is meant."""
        if not self.preview and self.expect is None:
            raise invalid("expect", "expect is needed: how many a preview said would be done")
        if len(self.ids or ()) > MOST or (self.expect or 0) > MOST:
            raise too_many()
        if (self.ids is None) == (self.filter is None):
            raise invalid("ids", "either ids or a filter is needed")
        return self.filter.selection() if self.filter else Selection(ids=self.ids)


class ManyReplays(Forced, Many):
    """Which signals are replayed."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"filter": {"state": "dead", "side": "sell"}, "preview": True},
                {"filter": {"state": "dead", "side": "sell"}, "expect": 12},
            ]
        }
    )

    filter: SignalFilter | None = None  # pyright: ignore[reportIncompatibleVariableOverride]  it says more


class ManyResends(Forced, Many):
    """Which deliveries are resent."""


class ManyResolutions(Many):
    """Which held deliveries are resolved, and as what."""

    resolution: Resolution = Field(alias="as")
