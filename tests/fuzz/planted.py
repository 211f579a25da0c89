"""A target with a flaw that is known: it proves that the harness finds and keeps one."""


class Planted:
    """Fails on one word."""

    def most_seconds(self, seeds: list[bytes]) -> float:  # noqa: ARG002  the same for all
        return 1.0

    def read(self, data: bytes) -> str:
        assert b"bomb" not in data, "planted"
        return "fine"

    def mutated(self, data: bytes, most: int, seed: int) -> bytes:  # noqa: ARG002  as it is handed in
        return data[: seed % (len(data) + 1)] + b"bomb"[: seed % 5]


TARGET = Planted()
