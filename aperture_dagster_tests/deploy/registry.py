"""A registry of images on this machine, by Debian's ``docker-registry``."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from aperture_dagster_tests.marks import why_missing
from aperture_dagster_tests.waiting import SECONDS, wait_for
from aperture_dagster_tests.webserver import free_port

INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"


class Unavailable(Exception):
    """There is no program to run a registry with."""


class Registry:
    """A registry that listens on this machine only; ``host`` is how its images' names begin."""

    def __init__(self, port: int) -> None:
        self.host = f"127.0.0.1:{port}"

    def answers(self) -> bool:
        """Tell whether it is up."""
        try:
            return urlopen(f"http://{self.host}/v2/", timeout=5).status == 200
        except URLError:
            return False

    def tags(self, name: str) -> set[str]:
        """Return the tags of an image."""
        return set(json.load(urlopen(f"http://{self.host}/v2/{name}/tags/list", timeout=5))["tags"])

    def index(self, name: str, tag: str) -> tuple[str, dict[str, Any]]:
        """Return digest and content of an image's index of architectures."""
        asked = Request(f"http://{self.host}/v2/{name}/manifests/{tag}", headers={"Accept": INDEX})
        with urlopen(asked, timeout=5) as answer:
            return answer.headers["Docker-Content-Digest"], json.load(answer)


@contextmanager
def registry(folder: Path) -> Iterator[Registry]:
    """Yield an empty registry. Raises Unavailable if ``docker-registry`` isn't installed."""
    if (program := shutil.which("docker-registry")) is None:
        raise Unavailable(why_missing("docker-registry", "docker-registry"))
    made = Registry(free_port())
    configuration = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(folder / "images")}, "delete": {"enabled": True}},
        "http": {"addr": made.host},
        "log": {"level": "error", "accesslog": {"disabled": True}},
    }
    # JSON is YAML.
    (folder / "registry.yml").write_text(json.dumps(configuration), encoding="utf-8")
    # It logs each question for what isn't there as an error.
    with (folder / "registry.log").open("w") as log:
        process = subprocess.Popen([program, "serve", str(folder / "registry.yml")], stdout=log, stderr=log)
        try:
            wait_for(made.answers, lambda: (folder / "registry.log").read_text(), seconds=30)
            yield made
        finally:
            process.terminate()
            process.wait(SECONDS)
