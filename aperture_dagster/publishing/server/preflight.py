"""Examine whether lists can be published, before anything is changed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aperture_dagster.publishing.disk.forms import choose_form, form_warning
from aperture_dagster.publishing.disk.paths import PathMap, is_any_published, root_problems
from aperture_dagster.publishing.disk.roots import Roots

if TYPE_CHECKING:
    from aperture_dagster.media_server.writer import MediaServerWriter
    from aperture_dagster.settings import Settings

GROUPED = (
    "The media server shows collections in place of their titles, so a published one would hide them from their own "
    "library: no collection is published. Switch that off in the server's settings."
)


@dataclass(frozen=True, slots=True)
class Preflight:
    """What was examined.

    With ``problems``, no library can be published; ``warnings`` prevent nothing. ``about`` says how libraries are
    published.
    """

    problems: list[str]
    warnings: list[str]
    about: str

    @property
    def hides_members(self) -> bool:
        """Whether collections would hide their titles, so that none is published."""
        return GROUPED in self.warnings


def examine_publishing(settings: Settings, writer: MediaServerWriter, roots: Roots) -> Preflight:
    """Examine whether lists can be published: the folder, how the media server sees it, and what would not play.

    A file is placed in the folder for a moment, to see whether the server sees it, but not in a dry run.

    Args:
        settings: what is published, and where.
        writer: the media server.
        roots: the folders that were published to, to read only.

    Raises:
        RootError: the folder is not, or no longer, the one that it is taken for.
        FolderError: it cannot be read.
        ServiceError: the media server does not answer, refuses, or is of a version that nobody has looked at.
    """
    assert settings.publish_root is not None
    root, paths, server = settings.publish_root.expanduser(), PathMap(settings.path_map), writer.server()
    on_server, product = paths.to_server(root), writer.reader.product
    form = choose_form(settings.publish_as, server.product)
    problems = []
    if any(one.endswith("_libraries") for one in settings.publish_lists):
        libraries = writer.libraries()
        published = roots.on_server()
        locations = [path for library in libraries for path in library.locations]
        problems = root_problems(on_server, [path for path in locations if not is_any_published([path], published)])
        # What the server would confuse needs another folder in any case.
        if not problems:
            roots.require_current(mark=False)
            problems = list(_folder_problems(root, paths, writer))
    warnings = [form_warning(form, server.product, server.version)]
    if _hides_members(settings, writer):
        warnings.append(GROUPED)
    about = f"{root}, which {product} sees as {on_server}; titles as {form}"
    return Preflight(problems, [warning for warning in warnings if warning is not None], about)


def _hides_members(settings: Settings, writer: MediaServerWriter) -> bool:
    return any(one.endswith("_collections") for one in settings.publish_lists) and writer.grouping_enabled()


def _folder_problems(root: Path, paths: PathMap, writer: MediaServerWriter) -> Iterator[str]:
    """Say what is wrong with the folder here, or else with how the server sees it."""
    try:
        is_seen = shows_its_files(root, paths, writer)
    except OSError as error:
        yield (
            f"{root} cannot be written ({error.strerror}): create it, or set APERTURE_PUBLISH_ROOT to a folder that "
            "can."
        )
        return
    if not is_seen:
        product, on_server = writer.reader.product, paths.to_server(root)
        yield (
            f"{product} does not see the files in {root} at {on_server}: mount the folder there (with Docker, by the "
            f"line `- {root}:{on_server}:ro` below `volumes:` of {product}'s service), or set APERTURE_PATH_MAP to the "
            "path under which it sees the folder."
        )


def shows_its_files(root: Path, paths: PathMap, writer: MediaServerWriter) -> bool:
    """Tell whether the server sees what is in the folder.

    Raises:
        OSError: the folder cannot be written.
    """
    # A file rather than the folder: an empty one of the same name in a container proves nothing.
    if not writer.dry_run:
        with tempfile.NamedTemporaryFile(dir=root, prefix=".aperture-doctor-") as probe:
            return writer.path_exists(paths.to_server(probe.name))
    placed = next((path for path in (*root.iterdir(), *root.glob("*/about.txt")) if path.is_file()), None)
    if not os.access(root, os.W_OK | os.X_OK):
        raise PermissionError(13, os.strerror(13))
    if placed is not None:
        return writer.path_exists(paths.to_server(placed))
    return writer.path_exists(paths.to_server(root), is_file=False)
