"""Make the image of ``deploy/Dockerfile`` in a root: by its steps, or quickly from this environment's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.deploy.dockerfile import Stage, read_dockerfile
from aperture_dagster_tests.deploy.roots import Root, visible

BASE_PYTHON = "/usr/bin/python3.13"
"""What stands for the Python of the base image, which is of the same version and Debian."""
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
INSTALL = """
import sys
from pathlib import Path
from aperture_dagster_tests.wheels import install_over_this_environment
install_over_this_environment(Path(sys.argv[1]), Path("/opt/aperture"))
"""


def prepare_base(root: Root) -> None:
    """Make the root resemble the base image: a Python with pip in ``/usr/local``, and no account 1000."""
    accounts = "sed -i -E '/^([^:]*:){2}1000:/d' /etc/passwd /etc/group"
    clean = f"{accounts} && rm -rf /usr/local/bin /usr/local/lib/python3* && {BASE_PYTHON} -m venv /usr/local"
    root.run(["sh", "-ceu", clean], {"PATH": PATH}, network=True)


def run_stage(root: Root, stage: Stage, built: Root | None) -> None:
    """Execute COPY and RUN of a stage; its environment is that of the instructions so far."""
    folder, variables = "/", {"PATH": PATH, "HOME": "/root"}
    # How this machine reaches a package index is not part of the image.
    variables |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))}
    for one in stage.instructions:
        if one.name == "WORKDIR":
            folder = one.rest
            visible(root, folder).mkdir(parents=True, exist_ok=True)
        elif one.name == "ENV":
            variables |= dict(pair.split("=", 1) for pair in one.words)
        elif one.name == "COPY":
            *sources, target = [word for word in one.words if not word.startswith("--")]
            copied_from = visible(built, "/") if built is not None and "--from=build" in one.words else PROJECT
            place = str(Path(folder, target))
            for source in sources:
                _copy(copied_from / source.lstrip("/"), visible(root, place), into=target.endswith("/"))
        elif one.name == "RUN":
            root.run(["sh", "-ceu", f"cd {folder} && {one.rest}"], variables, network=True)


def _copy(source: Path, target: Path, *, into: bool) -> None:
    if source.is_dir():
        ignored = shutil.ignore_patterns("__pycache__") if source.is_relative_to(PROJECT) else None
        shutil.copytree(source, target, dirs_exist_ok=True, symlinks=True, ignore=ignored)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target / source.name if into else target)


def build_image(root: Root, built: Root) -> Stage:
    """Execute the Dockerfile: its first stage in ``built``, the image in ``root``; return the image's stage."""
    first, image = read_dockerfile()
    assert first.name == "build"
    prepare_base(built)
    run_stage(built, first, None)
    prepare_base(root)
    run_stage(root, image, built)
    return image


def cheap_image(root: Root, wheel: Path) -> Stage:
    """Make what the image has in its places, from a wheel and the packages of this environment."""
    *_, image = read_dockerfile()
    inside = visible(root, "/wheel")
    inside.mkdir()
    shutil.copy(wheel, inside)
    script = f'cd {PROJECT} && exec {sys.executable} -c "$1" "$2"'
    words = ["sh", "-ceu", script, "sh", INSTALL, f"/wheel/{wheel.name}"]
    root.run(words, {"PATH": os.environ["PATH"], "HOME": "/root"}, network=True)
    for program in ("dagster", "dagster-daemon"):
        _, _, rest = Path(sys.executable).with_name(program).read_text().partition("\n")
        script = visible(root, f"/opt/aperture/bin/{program}")
        script.write_text(f"#!/opt/aperture/bin/python\n{rest}")
        script.chmod(0o755)
    # PostgreSQL wants a name for its user.
    with visible(root, "/etc/passwd").open("a") as accounts:
        accounts.write("aperture:x:1000:1000::/var/lib/aperture:/usr/sbin/nologin\n")
    for folder in ("/var/lib/aperture/backups", "/published"):
        visible(root, folder).mkdir(parents=True, exist_ok=True)
    _copy(PROJECT / "deploy" / "workspace.yaml", visible(root, "/etc/aperture/workspace.yaml"), into=False)
    return image


def bytes_below(folder: Path) -> int:
    """Return the bytes that a folder takes on the disk."""
    done = subprocess.run(["du", "-sk", str(folder)], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[0]) * 1024
