import pytest

from domain.gate import Reason
from domain.signal import SignalStatus
from domain.why import REASONS, explain


def test_every_reason_has_words_and_no_words_lack_a_reason() -> None:
    assert set(REASONS) == set(Reason)
    assert len(set(REASONS.values())) == len(Reason)


@pytest.mark.parametrize("reason", Reason)
def test_a_rejection_is_a_sentence_without_our_own_words(reason: Reason) -> None:
    said = explain(status="rejected", reason=reason, rank=None, cutoff=None, age_ms=None)
    assert said == REASONS[reason]
    assert said[0].isupper()
    assert said.endswith(".")
    assert "_" not in said


@pytest.mark.parametrize("status", SignalStatus)
def test_every_status_is_explained(status: SignalStatus) -> None:
    assert explain(status=status, reason="expired", rank=1, cutoff=2, age_ms=3).endswith(".")


def test_the_place_and_the_age_are_told_where_they_decided() -> None:
    def said(status: str, reason: str | None, rank: int | None) -> str:
        return explain(status=status, reason=reason, rank=rank, cutoff=15, age_ms=42_400)

    assert said("approved", None, 3) == "Approved. Rank 3 of 15. The list was 42 s old."
    assert said("rejected", "not_in_list", 16) == (
        f"{REASONS['not_in_list']} Rank 16 of 15. The list was 42 s old."
    )
    assert said("rejected", "not_in_list", None) == (
        f"{REASONS['not_in_list']} Not ranked; the top 15 count. The list was 42 s old."
    )
    assert said("rejected", "no_position", 3) == REASONS["no_position"]
    assert said("received", None, None) == "Waiting for its verdict."
    assert said("invalid", "no_side", None) == "It could not be read as a signal (no_side)."


def test_a_reason_from_a_later_version_is_still_said() -> None:
    said = explain(status="rejected", reason="too_windy", rank=None, cutoff=None, age_ms=None)
    assert said == "Rejected: too_windy."
