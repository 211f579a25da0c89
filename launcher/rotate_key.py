"""`run.py rotate-key`: another ENCRYPTION_KEY, and everything in the database sealed with it."""

import asyncio
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from config import Settings, SettingsError, load
from database import resealing
from database.pool import FAILED, Database
from database.resealing import NO_KEY, Survey
from database.vault import Vault
from furnishing import vault_of
from launcher import credentials
from launcher.credentials import KEY, OLD_KEY
from launcher.postgres import LocalPostgres
from launcher.postgres_programs import PostgresError
from launcher.serve import data_folder
from launcher.terminal import Progress, Refusal, say

ACTOR = "the command line"
PATIENCE = timedelta(minutes=5)
ROUNDS = 3
"""A relay that runs may write what is sealed with the old key until it knows the new one."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where it is done: by ``owner`` who may change rows, ``relay`` who sees other relays."""

    folder: Path
    owner: Database
    relay: Database


def run_rotation(*, check: bool) -> int:
    """Return the exit code, or raise Refusal with one line that says what to do."""
    folder, settings = data_folder({}), _loaded()
    try:
        with _database(settings, folder) as url:
            return asyncio.run(_run(settings, folder, url, check=check))
    except PostgresError as error:
        raise Refusal(str(error)) from None
    except FAILED as error:
        raise Refusal(
            f"The database cannot be read ({type(error).__name__}): is it there, and was this "
            "version of the relay started once?"
        ) from None


def _loaded() -> Settings:
    try:
        settings = load()
        vault_of(settings)
    except (SettingsError, ValueError) as error:
        raise Refusal(str(error), 2) from None
    return settings


@contextmanager
def _database(settings: Settings, folder: Path) -> Generator[str]:
    if own := settings.database_url:
        yield own.get_secret_value()
        return
    with LocalPostgres(folder, say=say) as postgres:
        yield postgres.url


async def _run(settings: Settings, folder: Path, url: str, *, check: bool) -> int:
    owner_url = settings.database_owner_url
    site = Site(
        folder,
        owner=Database.connect(
            owner_url.get_secret_value() if owner_url else url, pool=1, patience=PATIENCE
        ),
        relay=Database.connect(url, pool=1, patience=PATIENCE),
    )
    try:
        return await (_check(site, settings) if check else _rotate(site, settings))
    finally:
        await site.owner.close()
        await site.relay.close()


async def _check(site: Site, settings: Settings) -> int:
    vault = vault_of(settings)
    found = await resealing.survey(site.owner, vault)
    for title, counted in found.found.items():
        words = ", ".join(f"{number:,} {how}" for how, number in sorted(counted.items()))
        say(f"  {title:<36} {words or 'nothing'}")
    running = await resealing.relays(site.relay)
    ignorant = [keys for keys in running if not _seals_alike(keys, vault)]
    if ignorant:
        say(f"A relay runs that seals with another key than {KEY}.")
    if settings.encryption_key_old:
        say(f"{OLD_KEY} is set: it still opens what was sealed with it.")
    return 0 if found.count("current") == found.total and not ignorant else 1


async def _rotate(site: Site, settings: Settings) -> int:
    if settings.encryption_key_old is None:
        if _is_elsewhere(KEY):
            return _instruct()
        await _refuse_relays(site, None)
        credentials.begin_rotation(site.folder)
        settings = _loaded()
    vault = vault_of(settings)
    await _refuse_relays(site, vault)
    sealed = await _seal(site, vault)
    await _refuse_relays(site, vault)
    await resealing.tell(site.owner, sealed=sealed, actor=ACTOR)
    if _is_elsewhere(OLD_KEY):
        say(f"Done. Take {OLD_KEY} away where you set it, and restart every relay.")
    else:
        credentials.end_rotation(site.folder)
        say(f"Done: the key before is gone from {site.folder / credentials.FILE}.")
    say("Keep a copy of the new key, and the old one with the backups that it opens.")
    return 0


async def _refuse_relays(site: Site, vault: Vault | None) -> None:
    """Raise Refusal where a relay runs that could not open what we seal; None: a key to be made."""
    running = await resealing.relays(site.relay)
    if any(vault is None or not _seals_alike(keys, vault) for keys in running):
        raise Refusal(
            "A relay runs on this database that does not seal with the new key: stop it, then run "
            "this again. (Without a pause: docs/operations.md, Keys and secrets.)"
        )


def _seals_alike(keys: tuple[str, ...], vault: Vault) -> bool:
    return keys[:1] == vault.fingerprints[:1]


async def _seal(site: Site, vault: Vault) -> int:
    """Seal everything, and see that nothing is left; return how many values there are."""
    async with site.owner.write() as connection:
        await resealing.seal_plain(connection, vault)
    for _ in range(ROUNDS):
        before = await resealing.survey(site.owner, vault)
        left = before.total - before.count("current") - before.count(NO_KEY)
        if not left:
            return _judged(before)
        progress, done = Progress("Sealing with the new key"), 0
        async for changed in resealing.reseal(site.owner, vault):
            done += changed
            progress.step(f"{done:,}/{left:,}")
        progress.done(f"{done:,} values")
    found = await resealing.survey(site.owner, vault)
    if found.total - found.count("current") - found.count(NO_KEY):
        raise Refusal("Something still seals with the old key: both stay. Is an old relay running?")
    return _judged(found)


def _judged(found: Survey) -> int:
    if lost := found.count(NO_KEY):
        say(f"{lost:,} values open with neither key, and stay as they are.")
    return found.count("current")


def _is_elsewhere(name: str) -> bool:
    """Whether a setting comes from the environment or `.env`, where we change nothing."""
    given = credentials.read(Path(".env")) | dict(os.environ)
    return bool(given.get(name) or given.get(f"{name}_FILE"))


def _instruct() -> int:
    say(
        f"{KEY} is not in {credentials.FILE}, so it is changed where you set it. Set there, with "
        "the relay stopped:\n"
        f"  {KEY}={credentials.new_key()}\n"
        f"  {OLD_KEY}=(what {KEY} is now)\n"
        "and run this again: it seals everything with the first. Nothing was changed."
    )
    return 1
