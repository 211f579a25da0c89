"""Several processes behind one port: whoever is asked for the metrics answers for all of them."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, generate_latest

from engines.metrics import Metrics

PATIENCE = 1.0
"""Seconds for another process to answer, which costs it a millisecond."""

UP = ("relay_process_up Whether this process told its metrics", "# TYPE relay_process_up gauge")


@dataclass(frozen=True, slots=True)
class Place:
    """Which of how many processes this is, from 1, and the folder that only they can enter."""

    number: int
    of: int
    folder: Path

    def door(self, number: int) -> Path:
        return self.folder / f"{number}.sock"


@dataclass(frozen=True, slots=True)
class _Labelled(CollectorRegistry):
    """What is counted here, with the number of this process."""

    registry: CollectorRegistry
    number: int

    def collect(self) -> Iterator[Metric]:
        for family in self.registry.collect():
            family.samples = [
                one._replace(labels={"process": str(self.number), **one.labels})
                for one in family.samples
            ]
            yield family


@dataclass(frozen=True, slots=True)
class Siblings:
    """The processes that share our port; each keeps counters of its own, which the label tells."""

    place: Place
    metrics: Metrics

    @asynccontextmanager
    async def answering(self) -> AsyncGenerator[None]:
        """Answer the others, for as long as the block lasts."""
        door = self.place.door(self.place.number)
        door.unlink(missing_ok=True)  # of one that was killed
        server = await asyncio.start_unix_server(self._answer, door)
        try:
            yield
        finally:
            server.close()
            door.unlink(missing_ok=True)

    async def render(self) -> bytes:
        """The metrics of all of them, as Prometheus text; who does not answer is not up."""
        numbers = range(1, self.place.of + 1)
        told = await asyncio.gather(*(self._told(number) for number in numbers))
        up = zip(numbers, (text is not None for text in told), strict=True)
        return merged([text for text in told if text is not None], dict(up)).encode()

    async def _told(self, number: int) -> str | None:
        if number == self.place.number:
            return self._own().decode()
        try:
            async with asyncio.timeout(PATIENCE):
                reader, writer = await asyncio.open_unix_connection(self.place.door(number))
                try:
                    return (await reader.read()).decode() or None
                finally:
                    writer.close()
        except OSError:  # it ended, or is starting; a timeout is one too
            return None

    async def _answer(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._own())
        writer.close()

    def _own(self) -> bytes:
        return generate_latest(_Labelled(self.metrics.registry, self.place.number))


def merged(texts: Iterable[str], up: dict[int, bool]) -> str:
    """One text of several, in which each family stands once."""
    families: dict[Sequence[str], list[str]] = {
        UP: [f'relay_process_up{{process="{number}"}} {int(is_up)}' for number, is_up in up.items()]
    }
    for text in texts:
        for family in f"\n{text}".rstrip("\n").split("\n# HELP ")[1:]:
            words, kind, *samples = family.split("\n")
            families.setdefault((words, kind), []).extend(samples)
    return "".join(
        "\n".join([f"# HELP {words}", kind, *samples, ""])
        for (words, kind), samples in families.items()
    )
