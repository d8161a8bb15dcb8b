"""Published histories that a crowd can be made from, and their download.

None of them is shipped: whoever downloads one is bound by its terms.
"""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from aperture_dagster.files.private import FileError
from aperture_dagster.http.client import ServiceClient
from aperture_dagster.http.download import PublishedFile, discard_download, download
from aperture_dagster.http.errors import BadAnswer, ServiceNotConfigured
from aperture_dagster.http.messages import Request
from aperture_dagster.settings import Settings

LABEL = "GroupLens"
LICENCE = (
    "for research; no commercial or revenue-bearing use without GroupLens' permission; passed on only under the same "
    "terms; the University of Minnesota endorses nothing that is made with it; to be cited (Harper and Konstan 2015)"
)
"""The terms of the data in short, kept in a table."""
SPARE_BYTES = 500_000_000
"""Room that a download leaves on the disk."""
_MD5 = re.compile(r"\b[0-9a-fA-F]{32}\b")


@dataclass(frozen=True, slots=True)
class DataSet:
    """Histories that GroupLens publishes as a zip archive.

    Args:
        name: of the archive, without ``.zip``, and of the page with its terms.
        about: how much it holds.
        most_bytes, most_unpacked: more than this, packed and unpacked, is not accepted.
        size, md5: those of the archive, if it never changes.
    """

    name: str
    about: str
    most_bytes: int
    most_unpacked: int
    size: int | None = None
    md5: str | None = None

    @property
    def terms(self) -> str:
        """Where the terms are in full."""
        return f"https://files.grouplens.org/datasets/movielens/{self.name}-README.html"


DATA_SETS = {
    one.name: one
    for one in (
        DataSet(
            "ml-32m",
            "32 million ratings by 200,948 people, until October 2023; 239 MB",
            most_bytes=238_950_008,
            most_unpacked=2_000_000_000,
            size=238_950_008,
            md5="d472be332d4daa821edc399621853b57",
        ),
        # It is replaced from time to time, so its checksum is read beside it: against damage alone.
        DataSet(
            "ml-latest-small",
            "100,000 ratings by 600 people, until 2018, to try it; 1 MB",
            most_bytes=10_000_000,
            most_unpacked=100_000_000,
        ),
    )
}


def archive_of(folder: Path, data_set: DataSet) -> Path:
    """Return where an archive is kept while it is in use."""
    return folder / f"{data_set.name}.zip"


def discard_archives(folder: Path) -> None:
    """Remove archives, and what unfinished downloads have left."""
    for data_set in DATA_SETS.values():
        discard_download(archive_of(folder, data_set))
        archive_of(folder, data_set).unlink(missing_ok=True)


def fetch_archive(
    settings: Settings, data_set: DataSet, folder: Path, *, show: Callable[[int, int], None] = lambda *_: None
) -> Path:
    """Download an archive, going on from where it was interrupted, and return where it is.

    ``show`` is called as by :func:`download`.

    Raises:
        ServiceError: it could not be downloaded, or is not what was published.
        FileError: there is no room for it.
    """
    if settings.crowd_url is None:
        raise ServiceNotConfigured("APERTURE_CROWD_URL is off, so no crowd is fetched: remove it, or name a mirror.")
    if shutil.disk_usage(folder).free < data_set.most_bytes + SPARE_BYTES:
        size = (data_set.most_bytes + SPARE_BYTES) / 1e6
        raise FileError(f"{folder} has less than {size:,.0f} MB free, which the download needs: make room.")
    archive = archive_of(folder, data_set)
    options = {"attempts": settings.http_attempts, "first_wait_seconds": settings.http_retry_wait_seconds}
    with closing(ServiceClient(LABEL, settings.crowd_url, address_setting="APERTURE_CROWD_URL", **options)) as client:
        path = f"/{archive.name}"
        md5 = data_set.md5 or _published_md5(client, path)
        wanted = PublishedFile(path, md5, data_set.most_bytes, data_set.size)
        download(client.transport, wanted, archive, show=show)
    _require_small(archive, data_set)
    return archive


def _published_md5(client: ServiceClient, path: str) -> str:
    """Read the checksum that is published beside an archive."""
    answer = client.transport.send(Request("GET", f"{path}.md5", headers={"Accept": "*/*"}, max_bytes=1_000))
    match = _MD5.search(answer.text)
    if match is None:
        raise BadAnswer(f"{answer.source}: the answer is not a checksum")
    return match[0].lower()


def _require_small(archive: Path, data_set: DataSet) -> None:
    """Refuse, and remove, an archive that unpacks to more than it should; BadAnswer says so."""
    try:
        with zipfile.ZipFile(archive) as opened:
            size = sum(one.file_size for one in opened.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        size = None
    if size is None or size > data_set.most_unpacked:
        archive.unlink()
        problem = "is no zip archive" if size is None else f"unpacks to {size / 1e6:,.0f} MB"
        raise BadAnswer(f"{LABEL}: /{archive.name} {problem}; nothing of it is kept")
