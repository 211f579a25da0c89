"""The units by systemd itself where it is, and by what they say where it is not."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from config import Settings
from launcher.commands import COMMANDS
from launcher.environment import ROOT
from tests.deploy.units import FOLDER, INSTALLED, NAME, unit

RELAY, BACKUP = f"{NAME}.service", f"{NAME}-backup.service"
ANALYZE = shutil.which("systemd-analyze")


def _placed(folder: Path) -> list[str]:
    """The units with a Python that is here: that is the one thing an installation has besides."""
    for file in FOLDER.iterdir():
        text = file.read_text().replace(f"{INSTALLED}/.venv/bin/python", sys.executable)
        (folder / file.name).write_text(text)
    return [str(folder / file.name) for file in FOLDER.iterdir()]


@pytest.mark.skipif(not ANALYZE, reason="no systemd-analyze on this machine")
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    for place in _placed(tmp_path):
        done = subprocess.run(
            [str(ANALYZE), "verify", "--man=no", place], check=False, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr.strip()) == (0, ""), place


@pytest.mark.skipif(not ANALYZE, reason="no systemd-analyze on this machine")
@pytest.mark.parametrize("name", [RELAY, BACKUP])
def test_systemd_finds_little_exposed(name: str) -> None:
    """`systemd-analyze security` counts from 0 (nothing) to 10; most services have more than 9."""
    asked = [str(ANALYZE), "security", "--offline=yes", "--threshold=15", "--no-pager"]
    done = subprocess.run([*asked, FOLDER / name], check=False, capture_output=True, text=True)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze reads no files")
    assert done.returncode == 0, done.stdout[-300:]


@pytest.mark.parametrize("name", [RELAY, BACKUP])
def test_a_unit_is_an_ordinary_user_that_may_write_its_own_folders_alone(name: str) -> None:
    found = unit(name)
    assert found["User"] == found["Group"] == ["trading-relay"]
    assert found["NoNewPrivileges"] == found["PrivateTmp"] == found["ProtectHome"] == ["yes"]
    assert found["ProtectSystem"] == ["strict"]
    assert found["CapabilityBoundingSet"] == [""]
    places = found["ReadWritePaths"][0].split()
    assert places[0] == f"/var/lib/{NAME}"
    assert set(places[1:]) <= {f"/var/backups/{NAME}"}
    assert found["MemoryMax"]
    assert "RELAY_ENVIRONMENT=system" in " ".join(found["Environment"]), "it installs nothing"
    assert f"DATA_DIR=/var/lib/{NAME}/data" in " ".join(found["Environment"])


def test_the_relay_is_told_to_stop_alone_and_has_time_for_it() -> None:
    """Its PostgreSQL must not be told as well: it is needed until the last delivery is recorded."""
    found = unit(RELAY)
    assert found["KillMode"] == ["mixed"]
    grace = Settings.model_fields["shutdown_grace_sec"].default
    assert int(found["TimeoutStopSec"][0]) >= 3 * grace + 20
    assert found["Restart"] == ["on-failure"]
    assert found["RestartPreventExitStatus"] == ["2"]
    assert found["Type"] == ["notify"]


def test_the_backup_is_a_command_there_is_and_old_ones_go_after_it() -> None:
    found = unit(BACKUP)
    python, program, name, place = found["ExecStart"][0].split()
    assert (python, program) == (f"{INSTALLED}/.venv/bin/python", f"{INSTALLED}/run.py")
    assert name in {one.name for one in COMMANDS}
    assert place == f"/var/backups/{NAME}/"
    assert found["Type"] == ["oneshot"], "ExecStartPost comes only after it was done"
    assert "-mtime +14 -delete" in found["ExecStartPost"][0]
    timer = unit(f"{NAME}-backup.timer")
    assert timer["Persistent"] == ["true"]


def test_the_guide_installs_what_the_units_name() -> None:
    guide = (ROOT / "deploy/README.md").read_text()
    for word in ("trading-relay", INSTALLED, f"/etc/{NAME}", f"/var/backups/{NAME}"):
        assert word in guide, word
    for name in (RELAY, BACKUP, f"{NAME}-backup.timer"):
        assert re.search(rf"systemd/{re.escape(name)}\b|systemd/\*", guide), name
