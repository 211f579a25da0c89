"""Generated secrets: strong, private, made once."""

import base64
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher import credentials

NAMES = {
    "ADMIN_TOKEN",
    "FINVIZ_UPDATE_TOKEN",
    "WEBHOOK_TOKEN",
    "ENCRYPTION_KEY",
    "DEST_WEBHOOK_SIGNING_SECRET",
}


def test_everything_is_made_once(tmp_path: Path) -> None:
    new = credentials.complete(tmp_path, {})
    first = (tmp_path / "secrets.env").read_bytes()
    assert set(new) == NAMES
    assert credentials.complete(tmp_path, {}) == {}
    assert (tmp_path / "secrets.env").read_bytes() == first
    assert credentials.read(tmp_path / "secrets.env") == new


def test_the_formats_are_those_their_readers_want(tmp_path: Path) -> None:
    new = credentials.complete(tmp_path, {})
    assert all(len(new[name]) >= 43 for name in NAMES if name.endswith("_TOKEN"))
    assert len(base64.b64decode(new["ENCRYPTION_KEY"], validate=True)) == 32
    prefix, _, key = new["DEST_WEBHOOK_SIGNING_SECRET"].partition("_")
    assert (prefix, len(base64.b64decode(key, validate=True))) == ("whsec", 32)
    assert len(set(new.values())) == len(NAMES)


def test_the_file_is_private_whatever_the_umask_and_stays_so(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        credentials.complete(tmp_path, {})
    finally:
        os.umask(before)
    file = tmp_path / "secrets.env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    credentials.complete(tmp_path, {})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_the_operator_gave_is_not_made_and_a_blank_is_nothing(tmp_path: Path) -> None:
    new = credentials.complete(tmp_path, {"ADMIN_TOKEN": "mine", "WEBHOOK_TOKEN": ""})
    assert set(new) == NAMES - {"ADMIN_TOKEN"}


def test_a_new_kind_of_secret_is_added_and_old_lines_stay(tmp_path: Path) -> None:
    old = b"# kept\nADMIN_TOKEN='as it was'\nOTHER = 1"
    (tmp_path / "secrets.env").write_bytes(old)
    new = credentials.complete(tmp_path, {})
    assert (tmp_path / "secrets.env").read_bytes().startswith(old + b"\n")
    assert set(new) == NAMES - {"ADMIN_TOKEN"}
    assert credentials.read(tmp_path / "secrets.env")["ADMIN_TOKEN"] == "as it was"


def test_a_try_that_was_killed_leaves_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "secrets.new").write_text("ADMIN_TOKEN=half")
    assert set(credentials.complete(tmp_path, {})) == NAMES
    assert sorted(p.name for p in tmp_path.iterdir()) == ["secrets.env"]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=plain", "plain"),
        ("export A = spaced ", "spaced"),
        ("A='quoted # not a comment' # a comment", "quoted # not a comment"),
        ('A="double"', "double"),
        ("A=value # comment", "value"),
        ("A=x#y", "x#y"),
        ("A=# nothing", ""),
        ("A=", ""),
        ("# A=commented", None),
        ("\ufeffA=after a mark", "after a mark"),
    ],
)
def test_env_files_read_as_their_other_readers_do(
    tmp_path: Path, line: str, value: str | None
) -> None:
    (tmp_path / ".env").write_text(line, "utf-8")
    assert credentials.read(tmp_path / ".env").get("A") == value


def test_a_missing_file_says_nothing(tmp_path: Path) -> None:
    assert credentials.read(tmp_path / ".env") == {}


@given(given_names=st.sets(st.sampled_from(sorted(NAMES))))
def test_given_and_made_never_overlap_and_are_complete(
    tmp_path_factory: pytest.TempPathFactory, given_names: set[str]
) -> None:
    folder = tmp_path_factory.mktemp("secrets")
    new = credentials.complete(folder, dict.fromkeys(given_names, "given"))
    assert set(new) == NAMES - given_names
