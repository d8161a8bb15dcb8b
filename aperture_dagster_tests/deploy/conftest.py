"""Images and networks for the tests that run containers; they are skipped where there is no engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from aperture_dagster_tests.deploy import engine
from aperture_dagster_tests.deploy.asking import Lists, lists_of, wait_for_lists
from aperture_dagster_tests.deploy.engine import DEPLOY, IMAGE, Deployment, Unavailable, docker

HERE = Path(__file__).parent
WORLD = "generated:movies=60,series=6,episodes=40,users=3,plays=200"
SETTINGS = {
    "APERTURE_MEDIA_SERVER_URL": "http://media-server:8096/jellyfin",
    "APERTURE_MEDIA_SERVER_API_KEY": "demo-jellyfin-key",
    "APERTURE_TIMEZONE": "UTC",
    "TMDB_API_KEY": "",
}
"""The four lines of ``.env``."""
ELSEWHERE = {"APERTURE_PRICES_URL": ""}
"""What would be asked on the internet."""
OTHER_USER = {"PUID": "4321", "PGID": "4321"}
"""One without an account in the image, as on many a NAS."""

SEEN_AT = "/media/aperture"
"""Where the media server sees the published folder."""

Deploy = Callable[..., AbstractContextManager[Deployment]]


@pytest.fixture(scope="session")
def image() -> Iterator[str]:
    """The image of this checkout; it is left to the engine, as what a later build begins with."""
    try:
        engine.require_engine()
        engine.build_image()
        engine.compose_program()
    except Unavailable as error:
        pytest.skip(str(error))
    yield IMAGE


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this machine for published libraries, which everybody may write to."""
    folder = tmp_path_factory.mktemp("published")
    # Docker mounts it without entering the folders above.
    folder.chmod(0o777)
    return folder


@pytest.fixture(scope="session")
def network(image: str) -> Iterator[str]:
    """A network, named as the test run."""
    name = f"aperture-test-{os.getpid()}"
    docker("network", "create", name)
    yield name
    docker("network", "rm", name)


@pytest.fixture(scope="session")
def stand_ins(image: str, network: str, published: Path) -> Iterator[str]:
    """The stand-ins as the host ``media-server``, which sees the published folder at ``SEEN_AT``."""
    name = f"aperture-stand-ins-{os.getpid()}"
    script = f"type=bind,source={HERE / 'stand_ins.py'},target=/stand_ins.py,readonly"
    words = ["--network", network, "--network-alias", "media-server", "--mount", script]
    program = ["python", "/stand_ins.py", "--world", WORLD, "--volume", f"{SEEN_AT}=/seen"]
    try:
        docker("run", "--detach", "--name", name, *words, "--volume", f"{published}:/seen", image, *program)
        yield name
    finally:
        docker("rm", "--force", name)


@pytest.fixture(scope="session")
def deploy(image: str, network: str, stand_ins: str, tmp_path_factory: pytest.TempPathFactory) -> Deploy:
    """Makes a deployment of a file in ``deploy/``, with an adaptation beside this file and further settings."""
    made = iter(range(100))

    def one(file: str, adaptation: str, **settings: str) -> AbstractContextManager[Deployment]:
        number = next(made)
        given = (
            SETTINGS
            | ELSEWHERE
            | {"APERTURE_UI_PORT": str(23000 + number), "TEST_IMAGE": image, "TEST_NETWORK": network}
        )
        folder = tmp_path_factory.mktemp(f"deployment-{number}")
        name = f"aperture-test-{os.getpid()}-{number}"
        return engine.deployment([DEPLOY / file, HERE / adaptation], folder, given | settings, name)

    return one


@pytest.fixture(scope="session")
def household(deploy: Deploy) -> Iterator[Deployment]:
    """One container by compose.yaml, as a user without an account, that is healthy and has all lists."""
    with deploy("compose.yaml", "household.yaml", **OTHER_USER) as box:
        box.compose("up", "--detach")
        box.wait_until_healthy("aperture")
        wait_for_lists(box, quiet_seconds=60)
        yield box


@pytest.fixture(scope="session")
def undisturbed(household: Deployment) -> Lists:
    """The lists of a household that was left alone."""
    found = lists_of(household)
    assert any(page["watching"] for page in found.values())
    return found


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints a figure, also where the output of tests is captured."""

    def printed(text: str) -> None:
        with capsys.disabled():
            print(f"\n  {text}", end="")

    return printed
