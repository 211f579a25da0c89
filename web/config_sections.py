"""Each kind of thing that a configuration consists of: told for a file, and taken over from one."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from database import channels, destinations, gate, screens, sources
from database.destinations import NameTakenError
from database.pool import Connection
from database.vault import SealError
from domain.address import shown
from domain.body import MASK
from domain.channel import Channel, ChannelId
from domain.config_diff import Difference, Kind, cannot, difference, only_here
from domain.delivery import DestinationId
from domain.destination import Destination, SigningKeys, default_windows
from domain.destination_told import told as destination_told
from domain.rulebook import shown_rulebook
from domain.screen_terms import NamedScreen, told
from domain.signal import uuid7
from domain.source import SourceError, changed_source, new_source
from domain.source import told as source_told
from engines.universe import config_file
from web.dependencies import State
from web.destinations import KEY_BYTES, secret_of
from web.payloads_config import ChannelFile, ConfigFile, DestinationFile, SourceFile
from web.payloads_screens import named_fields
from web.screens import change, create, fresh, usual_refresh

Step: TypeAlias = tuple[Difference, Callable[[], Awaitable[object]] | None]
"""What becomes of one thing, and how it is done; None where nothing is."""


@dataclass(frozen=True, slots=True)
class Taking:
    """One import in its transaction. ``secrets`` are the signing keys of new destinations."""

    connection: Connection
    parts: State
    actor: str
    secrets: dict[str, str] = field(default_factory=dict[str, str], repr=False)

    async def steps(self, file: ConfigFile) -> list[Step]:
        """What the file comes to. Raises ProblemError naming what cannot be."""
        return [
            *await self._screens(file),
            *await self._destinations(file.destinations),
            *await self._sources(file.sources),
            *await self._rules(file),
            *await self._channels(file.channels),
        ]

    # ── Screens ─────────────────────────────────────────────────────────────────────────────

    async def _screens(self, file: ConfigFile) -> list[Step]:
        with named_fields():
            given = config_file.named_screens(
                file.screens, refresh=usual_refresh(self.parts["rules"])
            )
        held = await screens.hold_all(self.connection)
        kept = {one.name.lower(): one for one in held if one.archived_at is None}
        names = [one.name for one in kept.values()]
        return [
            *(self._screen(one, kept.get(one.name.lower())) for one in given),
            *_left(Kind.SCREEN, names, [one.name for one in given]),
        ]

    def _screen(self, given: NamedScreen, kept: screens.Kept | None) -> Step:
        becomes = {"note": given.note, **told(given.screen)}
        if kept is None:
            found = difference(Kind.SCREEN, given.name, None, becomes)
            return found, lambda: create(self.connection, fresh(self.parts, given), self.actor)
        if kept.screen.kind is not given.screen.kind:
            why = f"it is {kept.screen.kind} and stays so: give one of them another name"
            return cannot(Kind.SCREEN, given.name, why), None
        was = {"note": kept.note, **told(kept.screen)}
        wanted = replace(kept, note=given.note, screen=given.screen)
        return _step(
            difference(Kind.SCREEN, kept.name, was, becomes),
            lambda: change(self.connection, wanted, self.actor),
        )

    # ── Destinations ────────────────────────────────────────────────────────────────────────

    async def _destinations(self, given: Sequence[DestinationFile]) -> list[Step]:
        listed = await destinations.listed(self.connection, self.parts["vault"])
        here: dict[str, Destination] = {}
        shut: dict[str, str] = {}
        for row in listed:
            try:
                held = await destinations.hold(
                    self.connection, self.parts["vault"], DestinationId(row["id"])
                )
            except SealError:
                shut[row["name"].lower()] = row["name"]
                continue
            if held:
                here[held[0].name.lower()] = held[0]
        names = [*(one.name for one in here.values()), *shut.values()]
        return [
            *(
                _shut(Kind.DESTINATION, one.name)
                if one.name.strip().lower() in shut
                else self._destination(one, here.get(one.name.strip().lower()))
                for one in given
            ),
            *_left(Kind.DESTINATION, names, [one.name.strip() for one in given]),
        ]

    def _destination(self, given: DestinationFile, kept: Destination | None) -> Step:
        add = dict(kept.mapping.add) if kept else {}
        wanting = [
            name
            for name, value in (given.mapping.add if given.mapping else {}).items()
            if value == MASK and name not in add
        ]
        if wanting:
            why = f"the value of mapping.add.{wanting[0]} is masked: write it into the file"
            return cannot(Kind.DESTINATION, given.name, why), None
        if kept is None:
            return self._new_destination(given)
        wanted = given.terms(add).applied_to(kept, self.parts["rules"])
        found = difference(
            Kind.DESTINATION,
            kept.name,
            _destination_told(kept),
            _destination_told(wanted),
            secrets=_other_secrets(kept, wanted),
            notes=_not_brought(given, kept),
        )
        return _step(found, lambda: self._change_destination(wanted))

    async def _change_destination(self, wanted: Destination) -> None:
        changed = await destinations.change(
            self.connection, self.parts["vault"], wanted, actor=self.actor
        )
        assert changed, "it is held"

    def _new_destination(self, given: DestinationFile) -> Step:
        if given.masks_url():
            why = "its address is a secret that is not in the file: write it into url"
            return cannot(Kind.DESTINATION, given.name, why), None
        if isinstance(given.headers, list) and given.headers:
            why = "the values of its headers are not in the file: write them into headers"
            return cannot(Kind.DESTINATION, given.name, why), None
        key = self.parts["entropy"](KEY_BYTES)
        blank = Destination(
            id=DestinationId(uuid7(self.parts["clock"](), self.parts["entropy"](10))),
            name="",
            url="",
            keys=SigningKeys(key),
            windows=(),
            version=1,
        )
        wanted = given.terms({}).applied_to(blank, self.parts["rules"])
        if given.windows is None:
            wanted = replace(wanted, windows=default_windows(wanted.url))
        notes = ("it gets a signing key of its own, shown once it is made",)
        becomes = _destination_told(wanted)

        async def make() -> None:
            if not await destinations.create(
                self.connection, self.parts["vault"], wanted, actor=self.actor
            ):
                raise NameTakenError
            self.secrets[wanted.name] = secret_of(key)

        return difference(Kind.DESTINATION, wanted.name, None, becomes, notes=notes), make

    # ── Sources and rules ───────────────────────────────────────────────────────────────────

    async def _sources(self, given: Sequence[SourceFile]) -> list[Step]:
        listed = await sources.listed(self.connection, archived=True)
        here: dict[str, sources.Kept] = {}
        for one in listed:
            held = await sources.hold(self.connection, one.source.name)
            if held:
                here[held.source.name] = held
        names = [name for name, one in here.items() if one.archived_at is None]
        return [
            *(self._source(one, here.get(one.name)) for one in given),
            *_left(Kind.SOURCE, names, [one.name for one in given]),
        ]

    def _source(self, given: SourceFile, kept: sources.Kept | None) -> Step:
        if kept and kept.archived_at:
            why = "a source of this name was put away for good: its signals keep the name"
            return cannot(Kind.SOURCE, given.name, why), None
        try:
            wanted = (
                changed_source(kept.source, given.terms())
                if kept
                else new_source(given.name, given.terms())
            )
        except SourceError as error:
            return cannot(Kind.SOURCE, given.name, str(error)), None
        if kept is None:
            notes = ("it has no token yet: POST /api/sources/{name}/tokens makes one",)
            found = difference(Kind.SOURCE, given.name, None, source_told(wanted), notes=notes)
            return found, lambda: sources.create(self.connection, wanted, actor=self.actor)
        version = kept.version
        return _step(
            difference(Kind.SOURCE, given.name, source_told(kept.source), source_told(wanted)),
            lambda: sources.change(self.connection, wanted, version=version, actor=self.actor),
        )

    async def _rules(self, file: ConfigFile) -> list[Step]:
        if file.rules is None:
            return []
        current = await gate.read(self.connection)
        known = await gate.sources(self.connection) | {one.name for one in file.sources}
        wanted = file.rules.rulebook(known, "file.rules.")
        return [
            _step(
                difference(
                    Kind.RULES,
                    "rules",
                    shown_rulebook(current.rulebook),
                    shown_rulebook(wanted),
                ),
                lambda: gate.change_rules(
                    self.connection,
                    wanted,
                    version=current.version,
                    actor=self.actor,
                    reason="configuration imported",
                ),
            )
        ]

    # ── Channels ────────────────────────────────────────────────────────────────────────────

    async def _channels(self, given: Sequence[ChannelFile]) -> list[Step]:
        here: dict[str, Channel] = {}
        for row in await channels.listed(self.connection):
            held = await channels.hold(self.connection, self.parts["vault"], ChannelId(row["id"]))
            if held:
                here[held.name.lower()] = held
        names = [one.name for one in here.values()]
        return [
            *(self._channel(one, here.get(one.name.strip().lower())) for one in given),
            *_left(Kind.CHANNEL, names, [one.name.strip() for one in given]),
        ]

    def _channel(self, given: ChannelFile, kept: Channel | None) -> Step:
        if kept is None:
            why = "its address or token is not in the file: make it by POST /api/channels"
            return cannot(Kind.CHANNEL, given.name, why), None
        if kept.kind is not given.kind:
            why = f"it is of kind {kept.kind} and stays so: give one of them another name"
            return cannot(Kind.CHANNEL, given.name, why), None
        if not kept.opens:
            return _shut(Kind.CHANNEL, given.name)
        wanted = replace(given.applied_to(kept, self.parts["rules"]), name=kept.name)
        found = difference(
            Kind.CHANNEL,
            kept.name,
            _channel_told(kept),
            _channel_told(wanted),
            secrets=("shown",) if wanted.secrets != kept.secrets else (),
        )
        return _step(
            found,
            lambda: channels.change(
                self.connection, self.parts["vault"], kept, wanted, actor=self.actor
            ),
        )


def _step(found: Difference, act: Callable[[], Awaitable[object]]) -> Step:
    return found, act if found.acts else None


def _shut(kind: Kind, name: str) -> Step:
    why = "it does not open with this ENCRYPTION_KEY: enter its address anew first"
    return cannot(kind, name, why), None


def _left(kind: Kind, here: Sequence[str], given: Sequence[str]) -> list[Step]:
    return [(one, None) for one in only_here(kind, here, given)]


def _destination_told(one: Destination) -> dict[str, Any]:
    """All of it but its name, which the section has."""
    return {name: value for name, value in destination_told(one).items() if name != "name"}


def _other_secrets(kept: Destination, wanted: Destination) -> list[str]:
    names = ("url", "headers", "mapping")
    return [name for name in names if getattr(kept, name) != getattr(wanted, name)]


def _not_brought(given: DestinationFile, kept: Destination) -> list[str]:
    """What the file knows only masked, and is another here."""
    notes: list[str] = []
    if given.url is not None and given.masks_url() and given.url != shown(kept.url):
        notes.append("url stays: the address in the file is masked, and another")
    if isinstance(given.headers, list) and sorted(given.headers) != sorted(kept.headers):
        notes.append("headers stay: the file has their names only, and others")
    return notes


def _channel_told(one: Channel) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "shown": one.shown,
        "severity": one.severity,
        "window": one.window_sec,
        "enabled": one.enabled,
    }
