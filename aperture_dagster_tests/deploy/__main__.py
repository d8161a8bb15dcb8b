"""Execute the Dockerfile, and run the services of Compose on its result: ``make test-deploy``.

It needs root, a package index, and a Python 3.13 of the system; there is no Docker in it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from aperture_dagster_tests.deploy.dockerfile import Stage
from aperture_dagster_tests.deploy.images import BASE_PYTHON, build_image, bytes_below
from aperture_dagster_tests.deploy.roots import Root, can_make_roots, new_root, visible
from aperture_dagster_tests.deploy.scenarios import first_start
from aperture_dagster_tests.deploy.services import running_services, stopwatch

USER = "1000:1000"
OTHER_USER = "1234:100"
"""One without an account in the image, as on many a NAS."""
FORBIDDEN = ("pip", "setuptools", "gcc", "cc", "make")


def main() -> int:
    """Run everything; return the exit code."""
    if not can_make_roots() or not Path(BASE_PYTHON).exists():
        print(f"Skipped: it needs root, permission to mount, and {BASE_PYTHON}.")
        return 0
    with tempfile.TemporaryDirectory(prefix="aperture-image-") as name:
        folder, began = Path(name), stopwatch()
        with new_root(folder / "image") as root:
            with new_root(folder / "build") as built:
                image = build_image(root, built)
            size = bytes_below(visible(root, "/opt/aperture")) / 1e6
            print(f"The steps of the Dockerfile took {stopwatch() - began:.0f} s; /opt/aperture has {size:.0f} MB.")
            check_image(root, image)
            for user in (USER, OTHER_USER):
                volumes = folder / user.replace(":", "-")
                volumes.mkdir(mode=0o755)
                with running_services(root, image.environment(), volumes, user) as services:
                    for line in first_start(services):
                        print(f"{user}: {line}")
    print("PASS")
    return 0


def check_image(root: Root, image: Stage) -> None:
    """Check what is in the image and what must not be; raises AssertionError."""
    environment = image.environment()
    folders = [visible(root, f"{folder}/bin") for folder in ("/usr/local", "/opt/aperture")]
    programs = {path.name for folder in folders for path in folder.iterdir()}
    packages = {path.name for path in visible(root, "/opt/aperture/lib/python3.13/site-packages").iterdir()}
    left = [one for one in FORBIDDEN if one in programs | packages]
    assert not left, f"build tools are left in the image: {left}"
    assert image.last("USER").rest == "aperture"
    # The container's own check and command are programs of the image.
    check = image.last("HEALTHCHECK").rest.partition("CMD ")[2]
    for words in (image.last("CMD").rest, check):
        program = words.strip('["').partition('"')[0]
        assert visible(root, f"/opt/aperture/bin/{program}").exists(), program
    root.run(["aperture", "--version"], environment)
    root.run(["sh", "-c", "! find /opt/aperture -user aperture | grep ."], environment)


if __name__ == "__main__":
    sys.exit(main())
