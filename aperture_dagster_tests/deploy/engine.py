"""Docker, as the tests of containers use it: its client, the images to begin with, and one deployment of Compose.

Nothing here needs a registry of images: what cannot be pulled is made by ``bases.sh`` from Debian's packages.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.waiting import wait_for

DEPLOY = PROJECT / "deploy"
BASES = Path(__file__).with_name("bases.sh")
SWEEP = Path(__file__).with_name("sweep.sh")
PYTHON_BASE = "python:3.13-slim-trixie"
POSTGRES_BASE = "postgres:18-trixie"
IMAGE = "aperture-dagster:test"
PULL_SECONDS = 180
REACHES = "apt-get -o APT::Update::Error-Mode=any update && python -m pip download --no-deps --dest /tmp platformdirs"
"""What works in a container that reaches Debian's packages and those of Python."""


class Unavailable(Exception):
    """There is no engine, or what an image is made from cannot be had; says which."""


@contextmanager
def swept(prefix: str) -> Iterator[None]:
    """After the block, or once this process is killed, remove containers, networks and volumes whose names begin so."""
    # In a session of its own: Ctrl-C in the terminal is not for it.
    program = [str(SWEEP), prefix]
    sweeper = subprocess.Popen(program, stdin=subprocess.PIPE, start_new_session=True)
    assert sweeper.stdin is not None
    try:
        yield
    finally:
        # It begins when its input ends.
        sweeper.stdin.close()
        sweeper.wait(600)


def docker(*words: str, seconds: float = 600, **options: Any) -> str:
    """Run Docker's client, and return what it prints; AssertionError if that fails."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=seconds, **options)
    assert done.returncode == 0, f"docker {' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def succeeds(*words: str, seconds: float = 60) -> bool:
    """Tell whether a command of Docker's client ends well in time."""
    try:
        return subprocess.run(["docker", *words], capture_output=True, timeout=seconds).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def require_engine() -> None:
    """Raises Unavailable if no engine of Docker that runs Linux answers."""
    if shutil.which("docker") is None:
        raise Unavailable("There is no Docker client here.")
    if not succeeds("version", "--format", "{{.Server.Version}}"):
        raise Unavailable("No Docker engine answers here.")


def require_base(name: str, *how: str) -> None:
    """Have an image that others begin with: it is there, or is pulled, or is made. Raises Unavailable.

    The one that the Dockerfile names is pulled by the digest there, which a made one hasn't.
    """
    if succeeds("image", "inspect", name):
        return
    pinned = re.search(rf"{name}@sha256:[0-9a-f]{{64}}", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"))
    source = pinned[0] if pinned else name
    if not succeeds("pull", source, seconds=PULL_SECONDS):
        _make(*how)
    elif source != name:
        docker("tag", source, name)


def compose_program() -> list[str]:
    """Return the command of Docker Compose, which is fetched if it is not installed. Raises Unavailable."""
    if succeeds("compose", "version"):
        return ["docker", "compose"]
    program = PROJECT / ".aperture" / "docker-compose"
    if not program.exists():
        program.parent.mkdir(exist_ok=True)
        _make("compose", str(program), PYTHON_BASE)
    return [str(program)]


def _make(*how: str) -> None:
    done = subprocess.run([str(BASES), *how], capture_output=True, text=True, timeout=1200)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise Unavailable(f"{how[1]} can neither be pulled nor be made from Debian's packages: {last}")


def build_image(name: str = IMAGE, *, extras: str = "") -> None:
    """Build the image of ``deploy/Dockerfile``, with the launchers that ``extras`` names.

    Raises Unavailable if packages cannot be reached from a container.
    """
    require_base(PYTHON_BASE, "python", PYTHON_BASE)
    base = ["--build-arg", f"PYTHON={PYTHON_BASE}", "--build-arg", f"EXTRAS={extras}"]
    words = ["docker", "build", "--file", str(DEPLOY / "Dockerfile"), *base, "--tag", name, str(PROJECT)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=1200)
    if done.returncode != 0:
        if not succeeds("run", "--rm", PYTHON_BASE, "sh", "-ceu", REACHES, seconds=300):
            raise Unavailable("Containers do not reach the packages of Debian and Python, so no image can be built.")
        raise AssertionError(done.stdout + done.stderr)


@contextmanager
def derived_image(base: str, instruction: str, folder: Path) -> Iterator[str]:
    """Yield an image that has one more layer than another, made by an instruction of a Dockerfile from a folder."""
    name = f"aperture-dagster:test-{folder.name}"
    (folder / "Dockerfile").write_text(f"FROM {base}\nUSER root\n{instruction}\nUSER aperture\n")
    docker("build", "--tag", name, str(folder))
    try:
        yield name
    finally:
        docker("rmi", "--force", name)


def files_of_context(dockerfile: Path, builder: str) -> set[str]:
    """Return the files that a builder of Docker takes from the top folder, given a file that copies all of it."""
    name = f"aperture-dagster:context-{builder}"
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(Path.home()), "DOCKER_BUILDKIT": builder}
    docker("build", "--quiet", "--file", str(dockerfile), "--tag", name, str(PROJECT), env=environment)
    container = docker("create", name, "nothing")
    exported = subprocess.run(
        f"docker export {container} | tar -t", shell=True, capture_output=True, text=True, timeout=1200
    )
    docker("rm", container)
    docker("rmi", name)
    return {path for path in exported.stdout.splitlines() if path.startswith("context/") and not path.endswith("/")}


class Deployment:
    """Services of a file of Compose, under a project name of their own.

    Args:
        files: of Compose; the first one is what is tested, the others adapt it to the test.
        folder: for ``.env``, which the first file expects beside it, and what is made here.
        settings: the lines of ``.env``.
        name: of the project.
    """

    def __init__(self, files: Sequence[Path], folder: Path, settings: Mapping[str, str], name: str) -> None:
        self.folder, self.name = folder, name
        self._program = compose_program()
        # The first file is where it would be, with `.env` beside it.
        copy = folder / files[0].name
        shutil.copy(files[0], copy)
        self.write_settings(settings)
        self._files = [copy, *files[1:]]

    def write_settings(self, settings: Mapping[str, str]) -> None:
        """Write ``.env``."""
        (self.folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    def compose(self, *words: str, files: Sequence[Path] = ()) -> str:
        """Run Compose on the project; ``files`` are added for this time."""
        given = [word for path in (*self._files, *files) for word in ("--file", str(path))]
        command = [*self._program, "--project-name", self.name, "--project-directory", str(self.folder), *given, *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, timeout=1200)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def container(self, service: str) -> str:
        """Return the name of a service's container."""
        return f"{self.name}-{service}-1"

    def log(self, service: str) -> str:
        """Return what a service has printed."""
        done = subprocess.run(["docker", "logs", self.container(service)], capture_output=True, text=True, timeout=1200)
        return done.stdout + done.stderr

    def try_in(self, service: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program in a service's container."""
        return subprocess.run(
            ["docker", "exec", self.container(service), *words], capture_output=True, text=True, timeout=1200
        )

    def run_in(self, service: str, *words: str) -> str:
        """Return what a program in a service's container prints; AssertionError if it fails."""
        done = self.try_in(service, *words)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def state(self, service: str) -> dict[str, Any]:
        """Return what the engine says of a container's state."""
        return json.loads(docker("inspect", "--format", "{{json .State}}", self.container(service)))

    def wait_until_healthy(self, *services: str, seconds: float = 600) -> None:
        """Wait until the engine says that containers are healthy."""
        for service in services:
            wait_for(
                lambda service=service: self.state(service)["Health"]["Status"] == "healthy",
                lambda service=service: f"{service}: {self.state(service)} {self.log(service)}",
                seconds=seconds,
                pause=0.5,
            )

    def memory(self) -> str:
        """Return the memory of each container that runs."""
        names = docker("ps", "--quiet", "--filter", f"label=com.docker.compose.project={self.name}").split()
        return docker("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", *names) if names else ""


@contextmanager
def deployment(files: Sequence[Path], folder: Path, settings: Mapping[str, str], name: str) -> Iterator[Deployment]:
    """Yield a deployment, of which nothing runs yet; remove it with its volumes at the end."""
    # What the files mount by a path beside them.
    shutil.copy(DEPLOY / "postgres-role.sh", folder)
    made = Deployment(files, folder, settings, name)
    try:
        yield made
    finally:
        made.compose("down", "--volumes", "--remove-orphans", "--timeout", "1")
