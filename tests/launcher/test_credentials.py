"""Generated secrets: strong, private, made once."""

import base64
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher import credentials
from launcher.environment import ROOT

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


def test_a_key_is_replaced_and_kept_beside_until_the_end(tmp_path: Path) -> None:
    """H15: the file is whole at any moment, and other lines stay byte for byte."""
    old = b"# kept\nexport ENCRYPTION_KEY = 'old key'\nOTHER = 1"
    file = tmp_path / "secrets.env"
    file.write_bytes(old)
    credentials.begin_rotation(tmp_path)
    began = credentials.read(file)
    assert began["ENCRYPTION_KEY_OLD"] == "old key"
    assert len(base64.b64decode(began["ENCRYPTION_KEY"], validate=True)) == 32
    credentials.begin_rotation(tmp_path)
    assert credentials.read(file) == began, "the second time nothing is made"
    credentials.end_rotation(tmp_path)
    assert file.read_text().startswith("# kept\nOTHER = 1\n")
    assert credentials.read(file) == {"OTHER": "1", "ENCRYPTION_KEY": began["ENCRYPTION_KEY"]}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_secret_in_a_file_of_its_own_is_not_made(tmp_path: Path) -> None:
    new = credentials.complete(tmp_path, {"ADMIN_TOKEN_FILE": "somewhere"})
    assert set(new) == NAMES - {"ADMIN_TOKEN"}


def test_what_others_can_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """H15: the operator's own folder and `.env`; our file is set right on every start."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    credentials.complete(folder, {})
    assert credentials.exposed(folder) == []
    folder.chmod(0o755)
    Path(".env").write_text("TOP_N=5\n")
    Path(".env").chmod(0o644)
    assert credentials.exposed(folder) == [folder]
    Path(".env").write_text("SMTP_URL=smtp://a:b@c\n")
    assert credentials.exposed(folder) == [folder, Path(".env")]


STARTING = """
import json, sys
from pathlib import Path
from launcher import credentials
print("ready", flush=True)
sys.stdin.readline()
folder = Path(sys.argv[1])
new = credentials.complete(folder, {})
print(json.dumps([len(new), credentials.read(folder / credentials.FILE)]))
"""


def test_replicas_that_start_together_on_an_empty_folder_have_the_same_secrets(
    tmp_path: Path,
) -> None:
    """One makes them, and all read what it made as soon as they may go on."""
    starting = [
        subprocess.Popen(
            [sys.executable, "-c", STARTING, tmp_path],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(8)
    ]
    for each in starting:
        assert each.stdout
        assert each.stdout.readline() == "ready\n"
    for each in starting:
        assert each.stdin
        each.stdin.write("go\n")
        each.stdin.flush()
    found = [json.loads(each.communicate(timeout=30)[0]) for each in starting]
    assert sorted(made for made, _ in found) == [0] * 7 + [len(NAMES)]
    assert all(secrets == found[0][1] for _, secrets in found)
    assert set(found[0][1]) == NAMES


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
