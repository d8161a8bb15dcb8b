"""What somebody runs who has two files of a release and no checkout: pulled from a registry, started, and updated."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from aperture_dagster_tests.conftest import PROJECT, load_script
from aperture_dagster_tests.deploy import engine
from aperture_dagster_tests.deploy.engine import DEPLOY, docker
from aperture_dagster_tests.deploy.registry import Registry, Unavailable, registry
from aperture_dagster_tests.webserver import free_port

pytestmark = pytest.mark.containers
NAME = "aperture-dagster/aperture-dagster"


@pytest.fixture
def published(image: str, tmp_path: Path) -> Iterator[tuple[Registry, dict[str, str]]]:
    """A registry to which this checkout's image was published as 1.0.0, with the digests; the engine has none of it."""
    folder = tmp_path / "dist"
    folder.mkdir()
    tags = load_script("tools/release.py").image_tags("1.0.0", [])
    (folder / "image-tags").write_text("\n".join(tags) + "\n")
    architecture = docker("image", "inspect", "--format", "{{.Architecture}}", image)
    plain = tmp_path / "image.tar"
    docker("save", "--output", str(plain), image)
    packed = folder / f"aperture-dagster-1.0.0-image-{architecture}.tar.gz"
    with plain.open("rb") as image_file, gzip.open(packed, "wb", compresslevel=1) as file:
        shutil.copyfileobj(image_file, file, 1 << 20)
    plain.unlink()
    try:
        with registry(tmp_path) as made:
            command = [str(PROJECT / "tools" / "push_image.sh"), f"{made.host}/{NAME}", str(folder)]
            pushed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout
            remove_images(made)
            yield made, dict(line.split("=") for line in pushed.splitlines())
            remove_images(made)
    except Unavailable as error:
        pytest.skip(str(error))


def remove_images(made: Registry) -> None:
    """Forget the names by which the engine knows a registry's images; the image itself has another one."""
    names = docker("images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", f"reference={made.host}/*/*")
    for name in names.split():
        docker("rmi", name)


@pytest.mark.nightly(
    reason="An image is packed, published and pulled: minutes.",
    instead="deploy/test_push_image.py",
)
def test_two_files_of_a_release_are_enough_to_pull_and_start_it(
    published: tuple[Registry, dict[str, str]], prefix: str, tmp_path: Path
):
    made, digests = published
    port = free_port()
    # In place of the registry's real name only; the tag is that of the file.
    default = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    (reference,) = [line.split(":-")[1].rstrip("}") for line in default.splitlines() if "${IMAGE:-" in line]
    settings = {"IMAGE": reference.replace("ghcr.io", made.host), "APERTURE_UI_PORT": str(port), "PUID": "4321"}
    folder = tmp_path / "aperture"
    folder.mkdir()
    with engine.deployment([DEPLOY / "compose.yaml"], folder, settings, f"{prefix}-released") as box:
        box.compose("pull")
        box.compose("up", "--detach")
        box.wait_until_healthy("aperture")
        assert "code for set-up" in box.log("aperture")
        page = httpx.get(f"http://127.0.0.1:{port}/", timeout=30)
        # Nothing is served before it is set up but the page that asks for the code.
        assert page.status_code == 503 and "Code from the log" in page.text
        ran = docker("inspect", "--format", "{{.Config.Image}}", box.container("aperture"))
        assert ran == f"{made.host}/{NAME}:1"
        # What runs is what was published, and an update that brings nothing new restarts nothing.
        pulled = docker("image", "inspect", "--format", '{{join .RepoDigests " "}}', ran)
        assert f"{made.host}/{NAME}@{digests['index']}" in pulled.split()
        started = box.state("aperture")["StartedAt"]
        box.compose("pull")
        box.compose("up", "--detach")
        assert box.state("aperture")["StartedAt"] == started
