"""What compose files and the Dockerfile say, read without an engine."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from launcher.environment import ROOT

Service: TypeAlias = dict[str, Any]
VARIABLE = re.compile(r"\$\{(\w+)(?:(:?[-?])([^}]*))?\}")


class _Loader(yaml.SafeLoader):
    """Knows Compose's own tags: what follows `!override` replaces, and `!reset` takes away."""


def _as_it_is(loader: yaml.SafeLoader, _tag: str, node: yaml.Node) -> object:
    match node:
        case yaml.SequenceNode():
            return loader.construct_sequence(node)
        case yaml.MappingNode():
            return loader.construct_mapping(node)
        case _:
            return None


_Loader.add_multi_constructor("!override", _as_it_is)  # pyright: ignore[reportUnknownMemberType]
_Loader.add_multi_constructor("!reset", _as_it_is)  # pyright: ignore[reportUnknownMemberType]


def compose(name: str = "docker-compose.yml") -> dict[str, Any]:
    return yaml.load((ROOT / name).read_text(), _Loader)


def services(name: str = "docker-compose.yml") -> dict[str, Service]:
    return compose(name)["services"]


def filled(text: str, given: Mapping[str, str]) -> str:
    """`${NAME}` and `${NAME:-default}` as Compose fills them in."""

    def value(found: re.Match[str]) -> str:
        name, sign, default = found.groups()
        known = given.get(name, "")
        if sign and "?" in sign and not known:
            raise ValueError(f"{name}: {default}")
        return known or (default or "" if sign else "")

    return VARIABLE.sub(value, text).replace("$$", "$")


def environment(service: Service, given: Mapping[str, str]) -> dict[str, str]:
    return {name: filled(str(text), given) for name, text in service["environment"].items()}


# ── Dockerfile ──────────────────────────────────────────────────────────────────────────────


def instructions() -> list[tuple[str, str]]:
    """Of the image itself, the last stage: the word and what follows, lines joined."""
    text = (ROOT / "Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    found = [line.partition(" ") for line in text.splitlines() if line.strip()]
    last = max(place for place, (word, _, _) in enumerate(found) if word == "FROM")
    return [(word, rest.strip()) for word, _, rest in found[last:]]


def image_environment() -> dict[str, str]:
    pairs = [shlex.split(rest) for word, rest in instructions() if word == "ENV"]
    return dict(one.split("=", 1) for line in pairs for one in line)


def image_command() -> list[str]:
    [rest] = [rest for word, rest in instructions() if word == "CMD"]
    return yaml.safe_load(rest)


def image_user() -> str:
    """The number of who runs in it."""
    [name] = [rest for word, rest in instructions() if word == "USER"]
    found = re.search(rf"useradd --uid (\d+) .* {name}\b", (ROOT / "Dockerfile").read_text())
    assert found, name
    return found[1]


# ── .dockerignore ───────────────────────────────────────────────────────────────────────────


def in_image() -> list[Path]:
    """The files at the top, and the folders, that the build is handed."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    named = [line.removeprefix("!").rstrip("/") for line in lines if line.startswith("!")]
    return [path for one in named if (path := ROOT / one).exists()]
