"""docker-compose.yml with three replicas, started by hand: what Docker would run, does run."""

from collections.abc import Generator

import pytest

from tests.deploy import looking
from tests.deploy.containers import Project, forbidden, up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Generator[Project]:
    if why := forbidden():
        pytest.skip(why)
    with up(tmp_path_factory.mktemp("project")) as it:
        yield it


def test_three_replicas_behind_the_proxy_are_one_relay(project: Project) -> None:
    """In one test: a start of three is dear, and the last look takes replicas away."""
    lines = list(looking.look(project))
    assert len(lines) == 7
    for name in ("app-3", "proxy"):
        assert "Read-only file system" not in project.log(name)
