"""Secrets that are none: too short, well known, or the same few characters again and again."""

SHORTEST = 32
WEAK = (
    *("changeme", "change-me", "change_me", "your-secure-token", "your-token", "your_token"),
    *("secret", "password", "passw0rd", "postgres", "admin", "test-token", "test_token"),
    *("letmein", "qwerty", "placeholder", "replace", "example", "default"),
)


def is_well_known(text: str) -> bool:
    """Whether somebody would try it among the first."""
    return any(weak in text.lower() for weak in WEAK) or _is_monotonous(text)


def _is_monotonous(text: str) -> bool:
    """Few characters, or the same few again and again."""
    periods = (text[:length] * len(text) for length in range(1, len(text) // 2 + 1))
    return len(set(text)) < 8 or any(text == again[: len(text)] for again in periods)
