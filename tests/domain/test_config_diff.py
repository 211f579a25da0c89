from datetime import UTC, datetime

from domain.config_diff import Effect, Kind, cannot, difference, digest, only_here, repeated


def test_what_is_new_is_created_with_all_it_has() -> None:
    found = difference(Kind.SCREEN, "a", None, {"top_n": 3})
    assert (found.effect, found.acts) == (Effect.CREATE, True)
    assert found.fields == {"top_n": {"was": None, "becomes": 3}}


def test_of_what_is_there_only_the_change_is_told() -> None:
    at = datetime(2030, 1, 2, tzinfo=UTC)
    was = {"top_n": 3, "note": "x", "until": at, "tickers": ("A",)}
    found = difference(Kind.SCREEN, "a", was, was | {"top_n": 4, "tickers": ["A"]})
    assert (found.effect, found.acts) == (Effect.CHANGE, True)
    assert found.fields == {"top_n": {"was": 3, "becomes": 4}}
    same = difference(Kind.SCREEN, "a", was, dict(was))
    assert (same.effect, same.acts, same.fields) == (Effect.UNCHANGED, False, {})


def test_another_secret_behind_the_same_mask_is_a_change() -> None:
    masked = {"url": "https://a.example/•••"}
    found = difference(Kind.DESTINATION, "a", masked, masked, secrets=["url"])
    assert found.effect is Effect.CHANGE
    assert found.fields["url"]["becomes"] == "another, not shown"


def test_what_cannot_be_and_what_is_only_here_stays() -> None:
    assert not cannot(Kind.CHANNEL, "a", "why").acts
    (left,) = only_here(Kind.SCREEN, ["Mine", "yours"], ["YOURS"])
    assert (left.name, left.effect, left.acts) == ("Mine", Effect.ONLY_HERE, False)


def test_a_name_that_stands_twice_is_found() -> None:
    assert repeated(["a", "b", "A"]) == "a"
    assert repeated(["a", "b"]) is None


def test_the_digest_is_of_the_file_and_of_what_it_comes_to() -> None:
    one = difference(Kind.SCREEN, "a", {"n": 1}, {"n": 2})
    other = difference(Kind.SCREEN, "a", {"n": 0}, {"n": 2})
    digests = [digest(file, [found]) for file in ({"n": 2}, {"n": 3}) for found in (one, other)]
    assert len(set(digests)) == 4
    assert digest({"n": 2}, [one]) == digests[0]
