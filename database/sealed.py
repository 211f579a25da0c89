"""What is sealed in the database: every such column, and the place each value belongs to."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from database.vault import BODY


def address_of(destination: UUID) -> str:
    """A place says whose value it is and what of it, not which row: versions copy one another."""
    return f"destination {destination} address"


def headers_of(destination: UUID) -> str:
    return f"destination {destination} headers"


def key_of(destination: UUID) -> str:
    return f"destination {destination} key"


def constants_of(destination: UUID) -> str:
    """What its mapping adds."""
    return f"destination {destination} constants"


def terms_of(channel: UUID) -> str:
    return f"channel {channel} terms"


def body_of(_signal: UUID) -> str:
    return BODY


@dataclass(frozen=True, slots=True)
class Column:
    """A sealed column. ``key`` names a row, ``owner`` is whose place it is."""

    table: str
    name: str
    key: tuple[str, ...]
    owner: str
    place: Callable[[UUID], str]
    where: str = "true"

    @property
    def title(self) -> str:
        return f"{self.table}.{self.name}"


_VERSION, _ONE = ("destination_id", "version"), ("destination_id",)

COLUMNS = (
    Column("destination_versions", "url_sealed", _VERSION, "destination_id", address_of),
    Column("destination_versions", "headers_sealed", _VERSION, "destination_id", headers_of),
    Column("destination_versions", "added_sealed", _VERSION, "destination_id", constants_of),
    Column("destination_versions", "signing_sealed", _VERSION, "destination_id", key_of),
    Column("destination_versions", "previous_sealed", _VERSION, "destination_id", key_of),
    Column("pending_addresses", "url_sealed", _ONE, "destination_id", address_of),
    Column("pending_addresses", "headers_sealed", _ONE, "destination_id", headers_of),
    Column("channels", "sealed", ("id",), "id", terms_of),
    Column("signals", "body", ("seq",), "id", body_of, "body_sealed"),
)
