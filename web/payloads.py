"""What callers may send, and how it becomes a domain value."""

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field

from domain.screen import EXAMPLE_URL, Screen, ScreenError, parse_screen_url
from web.errors import ProblemError


class ScreenIn(BaseModel):
    """A change of the active screen; what is left out stays. ``refresh`` is in seconds.

    ``token`` is for scripts written for the original relay; `Authorization: Bearer` is better.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"url": str(EXAMPLE_URL), "top_n": 15, "refresh": 180}],
        },
    )

    url: str | None = Field(None, max_length=2_000)
    top_n: int | None = Field(None, strict=True)
    refresh: float | None = Field(None, strict=True, allow_inf_nan=False)
    token: str | None = Field(None, max_length=512)

    def applied_to(self, screen: Screen) -> Screen:
        """The screen with these changes. Raises ProblemError naming the field that is wrong."""
        try:
            return Screen(
                url=parse_screen_url(self.url) if self.url is not None else screen.url,
                top_n=screen.top_n if self.top_n is None else self.top_n,
                refresh=screen.refresh
                if self.refresh is None
                else timedelta(seconds=min(max(self.refresh, -1), 1e6)),
            )
        except ScreenError as error:
            raise ProblemError(400, "invalid_field", str(error), field=error.field) from error
