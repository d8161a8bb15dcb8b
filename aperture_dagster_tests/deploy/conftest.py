"""A root with the image, made from the wheel and the packages of this environment."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aperture_dagster_tests.deploy.images import cheap_image
from aperture_dagster_tests.deploy.roots import can_make_roots, new_root
from aperture_dagster_tests.deploy.services import Services, running_services
from aperture_dagster_tests.wheels import build_wheel


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    """The services of Compose, none of which runs yet."""
    if not can_make_roots():
        pytest.skip("needs root, and permission to mount in namespaces")
    # On the disk: folders in memory cannot be seen through a layer on the root.
    with tempfile.TemporaryDirectory(prefix="aperture-services-") as name:
        folder = Path(name)
        for part in ("dist", "volumes"):
            (folder / part).mkdir()
        with new_root(folder / "image") as root:
            image = cheap_image(root, build_wheel(folder / "dist"))
            with running_services(root, image.environment(), folder / "volumes", "0:0") as made:
                yield made
