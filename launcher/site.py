"""Where the relay keeps everything: its settings, its secrets, and the way to its database."""

import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from config import Settings, SettingsError, load
from database.vault import Vault
from launcher import credentials
from launcher.credentials import FILE, KEY, MAKERS, OLD_KEY
from launcher.postgres import AlreadyRunningError, LocalPostgres
from launcher.terminal import Refusal, say


@dataclass(frozen=True, slots=True)
class Site:
    """``given`` are the secrets that are set anywhere; the others are made up, and of no use."""

    settings: Settings
    folder: Path
    given: frozenset[str]
    filed: Mapping[str, str] = field(repr=False)
    """What secrets.env has."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The fingerprints of the keys that are set."""
        if KEY not in self.given:
            return ()
        old = self.settings.encryption_key_old
        return Vault.from_key(
            self.settings.encryption_key.get_secret_value(), old.get_secret_value() if old else None
        ).fingerprints

    def secrets(self) -> dict[str, str]:
        """What secrets.env has, and the keys in force wherever they come from."""
        old = self.settings.encryption_key_old
        keys = {KEY: self.settings.encryption_key.get_secret_value()} if KEY in self.given else {}
        return {**self.filed, **keys, **({OLD_KEY: old.get_secret_value()} if old else {})}

    @property
    def where(self) -> str:
        own = self.settings.database_url
        return (
            "the database of DATABASE_URL" if own else f"the embedded PostgreSQL in {self.folder}"
        )

    @property
    def embedded(self) -> bool:
        """Whether the database is on a server that is the relay's alone."""
        return self._own() is None

    @property
    def relay_url(self) -> str | None:
        """By which the relay itself logs in; None: the embedded one's."""
        own = self.settings.database_url
        return own.get_secret_value() if own else None

    @contextmanager
    def beside(self) -> Generator[str]:
        """The owner's address of the database; the embedded one is started where it is not running.

        Raises Refusal.
        """
        if own := self._own():
            yield own
            return
        if not any(self.folder.glob("postgres-*/data/PG_VERSION")):
            raise Refusal(f"There is no database in {self.folder} (DATA_DIR).", 2)
        try:
            with LocalPostgres(self.folder, say=_aside) as postgres:
                yield postgres.url
        except AlreadyRunningError:
            yield LocalPostgres.running(self.folder)

    @contextmanager
    def alone(self) -> Generator[str]:
        """The same, made where there is none; nobody else has the embedded one meanwhile."""
        if own := self._own():
            yield own
            return
        with LocalPostgres(self.folder, say=say) as postgres:
            yield postgres.url

    def _own(self) -> str | None:
        own = self.settings.database_owner_url or self.settings.database_url
        return own.get_secret_value() if own else None


def find(overrides: Mapping[str, object]) -> Site:
    """What is set; what is not set is made up, and kept nowhere. Raises Refusal."""
    handed = {name.upper(): str(value) for name, value in overrides.items() if value is not None}
    outside = credentials.read(Path(".env")) | dict(os.environ) | handed
    folder = Path(outside.get("DATA_DIR") or "data").resolve()
    filed = credentials.read(folder / FILE)
    known = filed | {name: value for name, value in outside.items() if value}
    given = {name for name in MAKERS if known.get(name) or known.get(f"{name}_FILE")}
    made_up = {name.lower(): make() for name, make in MAKERS.items() if name not in given}
    try:
        settings = load(**{**made_up, **overrides})
        site = Site(settings, folder, frozenset(given), filed)
        _ = site.keys
    except (SettingsError, ValueError) as error:
        raise Refusal(str(error), 2) from None
    return site


def _aside(line: str) -> None:
    """What is told of PostgreSQL is no part of what was asked for."""
    print(line, file=sys.stderr, flush=True)
