"""Images of a release reach a registry: one name for all architectures, tags that others pull by, and again."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import secrets
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.deploy import engine
from aperture_dagster_tests.deploy.engine import docker, succeeds
from aperture_dagster_tests.deploy.registry import Registry, Unavailable, registry

pytestmark = pytest.mark.containers
PUSH = PROJECT / "tools" / "push_image.sh"
NAME = "owner/push-test"
VERSION = "1.2.3"
TAGS = [VERSION, "1.2", "1", "latest"]


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Registry]:
    try:
        engine.require_engine()
        with registry(tmp_path) as made:
            yield made
    except (Unavailable, engine.Unavailable) as error:
        pytest.skip(str(error))


def saved_image(name: str, architecture: str) -> bytes:
    """Return what `docker save` writes of an image for an architecture, with one file in it."""
    layer = tar_of({"architecture": architecture.encode()})
    layers = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}
    configuration = {"architecture": architecture, "os": "linux", "config": {}, "rootfs": layers}
    manifest = [{"Config": "image.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    files = {"image.json": configuration, "manifest.json": manifest}
    return tar_of({"layer.tar": layer} | {path: json.dumps(content).encode() for path, content in files.items()})


def tar_of(files: dict[str, bytes]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return written.getvalue()


@pytest.fixture
def release(tmp_path: Path, local: Registry) -> Iterator[Path]:
    """What `make release` leaves, with two tiny images."""
    folder = tmp_path / "dist"
    folder.mkdir()
    (folder / "image-tags").write_text("\n".join(TAGS) + "\n")
    image = f"aperture-dagster-push-test-{secrets.token_hex(4)}:{VERSION}"
    for architecture in ("amd64", "arm64"):
        file = folder / f"aperture-dagster-{VERSION}-image-{architecture}.tar.gz"
        file.write_bytes(gzip.compress(saved_image(image, architecture)))
    yield folder
    left = docker("images", "--quiet", "--filter", f"reference={local.host}/*/*").split()
    subprocess.run(["docker", "rmi", "--force", image, *left], capture_output=True, timeout=600)


def push(local: Registry, folder: Path) -> dict[str, str]:
    # An owner may have capital letters, the name of an image may not.
    command = [str(PUSH), f"{local.host}/{NAME.title()}", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(line.split("=") for line in done.stdout.splitlines())


def test_every_tag_names_all_architectures_and_pushing_again_changes_nothing(local: Registry, release: Path):
    digests = push(local, release)
    assert set(digests) == {"amd64", "arm64", "index"}
    for tag in TAGS:
        digest, index = local.index(NAME, tag)
        assert digest == digests["index"], tag
        found = {manifest["platform"]["architecture"]: manifest["digest"] for manifest in index["manifests"]}
        assert found == {name: digests[name] for name in ("amd64", "arm64")}
    assert local.tags(NAME) == {*TAGS, f"{VERSION}-amd64", f"{VERSION}-arm64"}
    assert push(local, release) == digests
    # By the tag, an engine gets the image for its own architecture.
    pulled = f"{local.host}/{NAME}:1"
    docker("pull", pulled)
    architecture = docker("version", "--format", "{{.Server.Arch}}")
    assert docker("image", "inspect", "--format", "{{.Architecture}}", pulled) == architecture


def test_without_images_or_with_one_that_cannot_be_pushed_no_tag_moves(local: Registry, release: Path):
    (release / f"aperture-dagster-{VERSION}-image-arm64.tar.gz").write_bytes(b"cut off")
    command = [str(PUSH), f"{local.host}/{NAME}", str(release)]
    assert subprocess.run(command, capture_output=True, timeout=600).returncode != 0
    assert local.tags(NAME) == {f"{VERSION}-amd64"}
    for file in release.glob("*.tar.gz"):
        file.unlink()
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1 and "There is no *-image-*.tar.gz" in done.stderr
    assert not succeeds("manifest", "inspect", "--insecure", f"{local.host}/{NAME}:latest")
