"""What scripts of the original relay send, and which of our words it becomes."""

from typing import Annotated

from pydantic import BaseModel, Field

from domain.rate import Window
from web.payloads import DestinationChange, invalid
from web.payloads_screens import VISIBLE, ScreenChange, ScreenNew

REPROCESSING = (
    "reprocess_enabled: the original bought later what it had rejected. Here a buy may wait for its"
    ' ticker before the verdict: `wait` of a screen, PATCH /api/screens/{id} {"wait": 300}'
)

Name = Annotated[str, Field(max_length=200)]


class Sent(BaseModel):
    """Other names are left unread, as they were there. ``token`` is looked at before this is."""


class TickerSent(Sent):
    """One ticker, however it is spelt."""

    ticker: Annotated[str, Field(min_length=1, max_length=128)]


class WebhookSent(Sent):
    """Where approved signals go, and for how many seconds an answer is awaited."""

    webhook_url: Annotated[str, Field(min_length=1, max_length=2_000, repr=False)]
    timeout: float | None = Field(None, allow_inf_nan=False)

    def change(self) -> DestinationChange:
        return DestinationChange.model_validate({"url": self.webhook_url, "timeout": self.timeout})


class LimiterSent(Sent):
    """How many requests a minute the destination gets."""

    max_req_per_min: Annotated[int, Field(strict=True, ge=1, le=300)] | None = None
    rate_limiting_enabled: bool | None = Field(None, strict=True)

    def change(self, windows: list[Window]) -> DestinationChange:
        """The window of a minute becomes this; others stay, such as TradersPost's of an hour."""
        if self.rate_limiting_enabled is None and self.max_req_per_min is None:
            raise invalid("max_req_per_min", "max_req_per_min or rate_limiting_enabled is needed")
        if self.rate_limiting_enabled is False:
            return DestinationChange.model_validate({"windows": ""})
        minute = next((one.limit for one in windows if one.seconds == 60), 60)
        kept = [one for one in windows if one.seconds != 60]
        wanted = [Window(limit=self.max_req_per_min or minute, seconds=60), *kept]
        return DestinationChange.model_validate({"windows": ",".join(map(str, wanted))})


class PauseSent(Sent):
    """Why; the original had no word for it."""

    reason: Annotated[str, Field(min_length=1, max_length=200, pattern=VISIBLE)] | None = None


class StrategySent(Sent):
    """A strategy is a screen here. What is left out, or null, stays as it is."""

    name: Name | None = None
    url: Annotated[str, Field(max_length=10_000)] | None = None
    description: Annotated[str, Field(max_length=2_000)] | None = None
    top_n: int | None = Field(None, strict=True)
    refresh_interval_sec: float | None = Field(None, strict=True, allow_inf_nan=False)
    reprocess_enabled: bool | None = None

    def new(self) -> ScreenNew:
        """A screen with the original's defaults. Raises ProblemError."""
        self._check()
        if not self.name or not self.url:
            raise invalid("url" if self.name else "name", "name and url are needed")
        return ScreenNew.model_validate({"top_n": 100, "refresh": 10.0} | self._given())

    def change(self) -> ScreenChange:
        """Raises ProblemError."""
        self._check()
        return ScreenChange.model_validate(self._given())

    def _given(self) -> dict[str, object]:
        """By our names."""
        given = {
            "name": self.name,
            "note": self.description,
            "url": self.url,
            "top_n": self.top_n,
            "refresh": self.refresh_interval_sec,
        }
        return {name: value for name, value in given.items() if value is not None}

    def _check(self) -> None:
        if self.reprocess_enabled:
            raise invalid("reprocess_enabled", REPROCESSING)


class CopySent(Sent):
    """What the copy of a strategy is called."""

    new_name: Name | None = None
