"""Pictures of the pages, taken of a demo that runs."""

import shutil
from pathlib import Path

import pytest

from launcher.shots import BROWSERS, PAGES, THEMES, THINGS, run_shots

PNG = b"\x89PNG\r\n"


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.timeout(180)
def test_there_is_a_picture_of_every_page(
    tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    if not request.config.getoption("--long"):
        pytest.skip("takes long: --long")
    if not any(map(shutil.which, BROWSERS)):
        pytest.skip("no Chromium: apt install chromium")
    folder = tmp_path / "pictures"
    assert run_shots(folder, minutes=0.3) == 0
    wanted = {f"{name}-{theme}.png" for name in ("login", *PAGES, *THINGS) for theme in THEMES}
    assert {one.name for one in folder.iterdir()} == wanted
    assert all(one.read_bytes().startswith(PNG) for one in folder.iterdir())
    assert f"{len(wanted)} pictures" in capsys.readouterr().out
