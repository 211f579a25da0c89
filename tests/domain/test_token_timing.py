"""H2: how long a wrong token takes tells nothing of the right one. A measurement: `--long`."""

import gc
import hashlib
import statistics
import time
from itertools import count

import pytest

from domain.access import Grant, Scope, by_digest, digest, grant_of, mint

SAMPLES, KINDS, MOST = 100_000, 500, 4.5
"""As in the TVLA method: beyond that |t| of Welch's test, two kinds can be told apart."""


def t_of(one: list[int], other: list[int]) -> float:
    """Welch's t, without the slowest hundredth of each: those are other programs' doing."""
    kept = [sorted(each)[: len(each) * 99 // 100] for each in (one, other)]
    means = [statistics.fmean(each) for each in kept]
    spread = sum(statistics.variance(each) / len(each) for each in kept)
    return (means[0] - means[1]) / spread**0.5


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_wrong_token_takes_as_long_however_much_of_it_is_right(
    request: pytest.FixtureRequest,
) -> None:
    if not request.config.getoption("--long"):
        pytest.skip("a measurement: --long")
    seeds = (hashlib.sha256(str(number).encode()).digest() for number in count())
    right = mint(next(seeds))
    scopes = frozenset({Scope.INGEST})
    known = [right, *(mint(next(seeds)) for _ in range(20))]
    grants = by_digest(Grant(name="a", digest=digest(one), scopes=scopes) for one in known)
    # Many of each: where one alone stands in a table of 20 tells of it, and not of the right one.
    kinds = {
        "near": [right[:-4] + mint(next(seeds))[-4:] for _ in range(KINDS)],
        "far": [mint(next(seeds)) for _ in range(KINDS)],
    }
    found: list[float] = []
    while len(found) < 3:  # one of three has to be quiet: noise adds to t, and takes nothing away
        taken: dict[str, list[int]] = {"near": [], "far": []}
        gc.disable()
        for number in range(SAMPLES):
            for kind in ("near", "far") if next(seeds)[0] & 1 else ("far", "near"):
                token = kinds[kind][number % KINDS]
                began = time.perf_counter_ns()
                assert grant_of(token, grants) is None
                taken[kind].append(time.perf_counter_ns() - began)
        gc.enable()
        found.append(abs(t_of(taken["near"], taken["far"])))
        if found[-1] < MOST:
            return
    pytest.fail(f"|t| = {found}")
