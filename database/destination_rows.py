"""A destination as its rows have it: sealed and unsealed, and as it may be shown."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeAlias
from uuid import UUID

from database.connection import Row, RowMapping
from database.sealed import address_of, constants_of, headers_of, key_of
from database.vault import Vault
from domain.address import shown
from domain.body import MASK
from domain.delivery import DestinationId, Guarantee
from domain.destination import Destination, Mode, SigningKeys
from domain.destination_told import constants
from domain.destination_told import told as told_of
from domain.mapping import BodyMapping, Preset
from domain.rate import Window, format_windows, parse_windows

Facts: TypeAlias = dict[str, Any]

ANOTHER_KEY = "sealed with another key"
"""What is shown for headers and constants that the keys here do not open."""


def sealed_place(destination: Destination, vault: Vault) -> dict[str, Any]:
    """Where it is: its address and the headers that go with it."""
    id, headers = destination.id, json.dumps(dict(destination.headers)).encode()
    return {
        "id": id,
        "url_sealed": vault.seal(destination.url.encode(), address_of(id)),
        "url_shown": shown(destination.url),
        "headers_sealed": vault.seal(headers, headers_of(id)),
    }


def sealed(destination: Destination, vault: Vault) -> dict[str, Any]:
    id, keys, mapping = destination.id, destination.keys, destination.mapping
    added = json.dumps(dict(mapping.add))
    return {
        **sealed_place(destination, vault),
        "name": destination.name,
        "mode": destination.mode,
        "guarantee": destination.guarantee,
        "windows": format_windows(destination.windows),
        "concurrency": destination.concurrency,
        "timeout_sec": destination.timeout.total_seconds(),
        "connect_sec": destination.connect_timeout.total_seconds(),
        "mapping": json.dumps({"preset": mapping.preset, "rename": dict(mapping.rename)}),
        "added_sealed": vault.seal(added.encode(), constants_of(id)) if mapping.add else None,
        "signing_sealed": vault.seal(keys.current, key_of(id)),
        "previous_sealed": keys.previous and vault.seal(keys.previous, key_of(id)),
        "previous_until": keys.until,
    }


def differences(was: Destination | None, becomes: Destination) -> dict[str, str]:
    """What a change is told of: what differs, and of secrets that they do."""
    before, after = {} if was is None else told_of(was), told_of(becomes)
    old = was or replace(becomes, url="", headers={})
    secret = {
        "url": old.url != becomes.url,
        "headers": dict(old.headers) != dict(becomes.headers),
        "mapping": old.mapping != becomes.mapping,
        "key": was is not None and old.keys.current != becomes.keys.current,
    }
    names = [n for n in after if after[n] != before.get(n) or (was and secret.get(n))]
    told = {name: after[name] for name in names}
    if secret["key"]:
        told["key"] = "rotated"
    return {
        "was": json.dumps({name: before[name] for name in names} if was else None),
        "becomes": json.dumps(told),
    }


def shown_row(id: DestinationId, row: RowMapping, vault: Vault) -> Facts:
    """A row for people: of headers their names, of constants that may be secrets a mask."""
    facts: Facts = {**row}
    sealed = {name: facts.pop(name) for name in _PLACES}
    opens = all(
        value is None or vault.key_of(value, place(id)) is not None
        for value, place in zip(sealed.values(), _PLACES.values(), strict=True)
    )
    headers, added = sealed["headers_sealed"], sealed["added_sealed"]
    if opens:
        mapping = _mapping(id, facts["mapping"], added, vault)
        names = sorted(_headers(id, headers, vault))
    else:
        mapping = _mapping(id, facts["mapping"], None, vault)
        names = [ANOTHER_KEY]
    return facts | {
        "opens": opens,
        "headers": names,
        "mapping": {
            "preset": mapping.preset,
            "rename": dict(mapping.rename),
            "add": constants(mapping.add) if opens or not added else {ANOTHER_KEY: MASK},
        },
    }


_PLACES: Mapping[str, Callable[[UUID], str]] = {
    "url_sealed": address_of,
    "headers_sealed": headers_of,
    "added_sealed": constants_of,
    "signing_sealed": key_of,
    "previous_sealed": key_of,
}
"""What is sealed of a version, and where each belongs."""


def windows_of(text: str) -> tuple[Window, ...]:
    return parse_windows(text) if text else ()


def _headers(id: DestinationId, sealed: bytes | None, vault: Vault) -> dict[str, str]:
    return json.loads(vault.open(sealed, headers_of(id))) if sealed else {}


def _mapping(
    id: DestinationId, kept: Mapping[str, Any], added: bytes | None, vault: Vault
) -> BodyMapping:
    add = json.loads(vault.open(added, constants_of(id))) if added else kept.get("add", {})
    return BodyMapping(Preset(kept.get("preset", Preset.AS_RECEIVED)), kept.get("rename", {}), add)


def unsealed(row: Row, vault: Vault) -> Destination:
    """A version as it is. Raises SealError."""
    id = DestinationId(row.id)
    keys = SigningKeys(
        vault.open(row.signing_sealed, key_of(id)),
        vault.open(row.previous_sealed, key_of(id)) if row.previous_sealed else None,
        row.previous_until,
    )
    return replace(
        bare(row, keys),
        url=vault.open(row.url_sealed, address_of(id)).decode(),
        headers=_headers(id, row.headers_sealed, vault),
        mapping=_mapping(id, row.mapping, row.added_sealed, vault),
    )


def bare(row: Row, keys: SigningKeys) -> Destination:
    """What is not sealed of a version: no address, no headers, no sealed constants, other keys."""
    kept: Mapping[str, Any] = row.mapping
    preset = Preset(kept.get("preset", Preset.AS_RECEIVED))
    return Destination(
        id=DestinationId(row.id),
        name=row.name,
        version=row.version,
        url="",
        keys=keys,
        windows=windows_of(row.windows),
        concurrency=row.concurrency,
        timeout=timedelta(seconds=row.timeout_sec),
        connect_timeout=timedelta(seconds=row.connect_sec),
        mode=Mode(row.mode),
        guarantee=Guarantee(row.guarantee),
        mapping=BodyMapping(preset, kept.get("rename", {}), kept.get("add", {})),
    )
