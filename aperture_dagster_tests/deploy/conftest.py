"""Images and networks for the tests that run containers; they are skipped where there is no engine."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from aperture_dagster_tests.deploy import engine
from aperture_dagster_tests.deploy.asking import PASSWORD, Lists, lists_of, wait_for_lists
from aperture_dagster_tests.deploy.engine import (
    DEPLOY,
    IMAGE,
    POSTGRES_BASE,
    PYTHON_BASE,
    Deployment,
    Unavailable,
    docker,
)
from aperture_dagster_tests.webserver import free_port

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
def postgres_base(image: str) -> None:
    """The image of a PostgreSQL of its own."""
    try:
        engine.require_base(POSTGRES_BASE, "postgres", POSTGRES_BASE, PYTHON_BASE)
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def prefix(image: str) -> Iterator[str]:
    """What all names of this test run begin with; nothing that has such a name outlives it."""
    name = f"aperture-test-{secrets.token_hex(4)}"
    with engine.swept(name):
        yield name


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this machine for published libraries, which everybody may write to."""
    folder = tmp_path_factory.mktemp("published")
    # Docker mounts it without entering the folders above.
    folder.chmod(0o777)
    return folder


@pytest.fixture(scope="session")
def network(prefix: str) -> str:
    """A network with the stand-ins."""
    docker("network", "create", prefix)
    return prefix


@pytest.fixture(scope="session")
def stand_ins(image: str, network: str, published: Path) -> str:
    """The stand-ins as the host ``media-server``, which sees the published folder at ``SEEN_AT``."""
    name = f"{network}-stand-ins"
    script = f"type=bind,source={HERE / 'stand_ins.py'},target=/stand_ins.py,readonly"
    words = ["--network", network, "--network-alias", "media-server", "--mount", script]
    program = ["python", "/stand_ins.py", "--world", WORLD, "--volume", f"{SEEN_AT}=/seen"]
    docker("run", "--detach", "--name", name, *words, "--volume", f"{published}:/seen", image, *program)
    return name


@pytest.fixture(scope="session")
def deploy(image: str, network: str, stand_ins: str, tmp_path_factory: pytest.TempPathFactory) -> Deploy:
    """Makes a deployment of a file in ``deploy/``, with an adaptation beside this file and further settings."""
    made = iter(range(100))

    def one(file: str, adaptation: str, **settings: str) -> AbstractContextManager[Deployment]:
        number = next(made)
        given = (
            SETTINGS | ELSEWHERE | {"APERTURE_UI_PORT": str(free_port()), "TEST_IMAGE": image, "TEST_NETWORK": network}
        )
        folder = tmp_path_factory.mktemp(f"deployment-{number}")
        return engine.deployment([DEPLOY / file, HERE / adaptation], folder, given | settings, f"{network}-{number}")

    return one


# Deployments start, and are waited for where they are needed: so their own waits, as for a sensor's next look, overlap.


@pytest.fixture(scope="session")
def household(deploy: Deploy) -> Iterator[Deployment]:
    """One container by compose.yaml, as a user without an account, that starts."""
    with deploy("compose.yaml", "household.yaml", **OTHER_USER) as box:
        box.compose("up", "--detach")
        yield box


@pytest.fixture(scope="session")
def undisturbed(household: Deployment) -> Lists:
    """The lists of that household, which was left alone until nothing was left to do."""
    household.wait_until_healthy("aperture")
    wait_for_lists(household, quiet_seconds=60)
    found = lists_of(household)
    assert any(page["watching"] for page in found.values())
    return found


@pytest.fixture(scope="session")
def services(deploy: Deploy, stand_ins: str, postgres_base: None) -> Iterator[Deployment]:
    """PostgreSQL, code server, webserver and daemon by compose.services.yaml that start."""
    settings = OTHER_USER | {"POSTGRES_PASSWORD": PASSWORD}
    with deploy("compose.services.yaml", "services.yaml", **settings) as box, _started(box, "default", stand_ins):
        yield box


@contextmanager
def _started(box: Deployment, network: str, stand_ins: str) -> Iterator[None]:
    """Start services that have a network of their own, with the stand-ins in it: names of services are not unique."""
    box.compose("create")
    docker("network", "connect", "--alias", "media-server", f"{box.name}_{network}", stand_ins)
    try:
        box.compose("up", "--detach")
        yield
    finally:
        docker("network", "disconnect", "--force", f"{box.name}_{network}", stand_ins)


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints a figure, also where the output of tests is captured."""

    def printed(text: str) -> None:
        with capsys.disabled():
            print(f"\n  {text}", end="")

    return printed
