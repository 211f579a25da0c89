"""A backup looked through, with Python alone: whether it is whole, and what is in it."""

import json
from pathlib import Path

from database.backup_file import opened
from domain.backup import DamagedError, Header, NotABackupError, Reading
from launcher.terminal import Refusal, say

KEYS_INSIDE = "secrets.env is inside: whoever has this file has every token and key."
KEYS_OUTSIDE = (
    "ENCRYPTION_KEY is not inside: without it addresses and keys of destinations cannot be read."
)


def looked_through(path: Path) -> Reading:
    """Read a backup to its end. Raises Refusal."""
    try:
        with opened(path) as reading:
            try:
                reading.check()
            except DamagedError as error:
                raise Refusal(f"DAMAGED: {path}: {error}.") from None
            return reading
    except OSError as error:
        raise Refusal(f"{path} cannot be read: {error.strerror}.", 2) from None
    except NotABackupError:
        raise Refusal(f"{path} is no backup of this relay, or of a newer version.", 2) from None


def verify(path: Path, *, as_json: bool) -> int:
    """Say what is in it; 0: it is whole. Raises Refusal."""
    reading = looked_through(path)
    if as_json:
        say(json.dumps(_told(path, reading), indent=2))
        return 0
    header = reading.header
    rows = sum(one.rows for one in reading.counts.values())
    say(
        f"Whole: {rows:,} rows of {len(reading.counts)} tables, as of {header.taken_at}"
        f" (version {header.version}, schema {header.schema})."
    )
    for name, one in reading.counts.items():
        if one.rows:
            say(f"  {name:<20} {one.rows:>12,}")
    say(KEYS_INSIDE if reading.secrets else KEYS_OUTSIDE)
    return 0


def told(path: Path, header: Header) -> dict[str, object]:
    """What a backup is, for programs."""
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "taken_at": header.taken_at,
        "version": header.version,
        "schema": header.schema,
        "postgres": header.postgres,
        "head": header.head,
    }


def _told(path: Path, reading: Reading) -> dict[str, object]:
    rows = {name: one.rows for name, one in reading.counts.items()}
    return told(path, reading.header) | {"keys_inside": bool(reading.secrets), "rows": rows}
