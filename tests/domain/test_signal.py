from datetime import UTC, datetime, timedelta, timezone
from uuid import RFC_4122

from hypothesis import given
from hypothesis import strategies as st

from domain.signal import uuid7

START = datetime(1970, 1, 1, tzinfo=UTC)
moments = st.timedeltas(timedelta(0), timedelta(days=365 * 8_000)).map(lambda since: START + since)
chances = st.binary(min_size=10, max_size=10)


@given(moments, chances)
def test_an_id_is_a_uuid_of_version_7_with_the_time_in_front(now: datetime, chance: bytes) -> None:
    id = uuid7(now, chance)
    assert (id.version, id.variant) == (7, RFC_4122)
    assert abs((id.int >> 80) - now.timestamp() * 1000) <= 1


@given(moments, chances, chances, st.timedeltas(timedelta(milliseconds=2), timedelta(days=1)))
def test_ids_follow_the_clock(now: datetime, one: bytes, other: bytes, later: timedelta) -> None:
    assert uuid7(now, one) < uuid7(now + later, other)
    assert str(uuid7(now, one)) < str(uuid7(now + later, other))


@given(moments, chances, chances)
def test_chance_tells_ids_of_one_instant_apart(now: datetime, one: bytes, other: bytes) -> None:
    ours = int.from_bytes(one, "big") ^ int.from_bytes(other, "big")
    fixed = (0xF << 76) | (0x3 << 62)
    assert (uuid7(now, one) == uuid7(now, other)) == (ours & ~fixed == 0)


def test_the_vector_of_the_rfc() -> None:
    """RFC 9562, appendix A.6."""
    now = datetime(2022, 2, 22, 14, 22, 22, tzinfo=timezone(timedelta(hours=-5)))
    chance = bytes.fromhex("0cc318c4dc0c0c07398f")
    assert str(uuid7(now, chance)) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"
