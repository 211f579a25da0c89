"""What a configuration file may hold; each thing as the API shows it, secrets left out."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from domain.body import MASK
from web.payloads import Terms
from web.payloads_access import SourceTerms
from web.payloads_channels import ChannelNew
from web.payloads_rules import RulebookIn

FORMAT = "trading-signal-processor/config"


class DestinationFile(Terms):
    """A destination. A masked ``url`` changes nothing; ``headers`` may be names, or new values."""

    name: str = Field(max_length=200)  # pyright: ignore[reportIncompatibleVariableOverride]  it must be there
    headers: list[str] | dict[str, str | None] | None = Field(None, repr=False)  # pyright: ignore[reportIncompatibleVariableOverride]

    def masks_url(self) -> bool:
        return self.url is None or MASK in self.url

    def terms(self, add: dict[str, Any]) -> Terms:
        """What of it can be taken over; ``add`` stands for constants that are masked."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        if self.masks_url():
            given.pop("url", None)
        if isinstance(self.headers, list):
            given.pop("headers")
        if self.mapping is not None:
            kept = {k: add.get(k, v) if v == MASK else v for k, v in self.mapping.add.items()}
            given["mapping"] = self.mapping.model_copy(update={"add": kept})
        return Terms.model_construct(_fields_set=set(given), **given)


class SourceFile(SourceTerms):
    """A source, without its tokens."""

    name: str = Field(max_length=200)


class ChannelFile(ChannelNew):
    """A channel. ``shown`` is for reading."""

    shown: str | None = Field(None, max_length=2_000)


class ConfigFile(BaseModel):
    """A configuration as `GET /api/config/export` wrote it, or a part of it."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["trading-signal-processor/config"]
    version: Literal[1]
    exported_at: datetime | None = None
    screens: list[object] = Field(default_factory=list[object], max_length=1_000)
    destinations: list[DestinationFile] = Field(
        default_factory=list[DestinationFile], max_length=1_000
    )
    sources: list[SourceFile] = Field(default_factory=list[SourceFile], max_length=1_000)
    rules: RulebookIn | None = None
    channels: list[ChannelFile] = Field(default_factory=list[ChannelFile], max_length=1_000)


class ConfigImport(BaseModel):
    """A file, and whether to apply it: then with the ``digest`` of the diff that was shown."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"file": {"format": FORMAT, "version": 1, "screens": []}, "apply": False}]
        },
    )

    file: ConfigFile
    apply: bool = Field(default=False, strict=True)
    digest: str | None = Field(None, max_length=64)
