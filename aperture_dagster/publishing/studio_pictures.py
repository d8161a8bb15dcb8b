"""Which studios of the media server get which logo."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aperture_dagster.resources.media_server.records import ServerStudio
    from aperture_dagster.storage.studios import StoredLogo


@dataclass(frozen=True, slots=True)
class PictureChange:
    """A picture to set on the media server."""

    studio: ServerStudio
    logo: StoredLogo


def plan_pictures(studios: Iterable[ServerStudio], logos: Iterable[StoredLogo]) -> list[PictureChange]:
    """Return the pictures to set: for studios without one, and for those that have an older one of ours.

    A picture that the operator chose stays. Studios are matched by name; if several logos have the same name, the first
    one counts.
    """
    by_name: dict[str, StoredLogo] = {}
    for logo in logos:
        by_name.setdefault(logo.name.casefold(), logo)
    changes = []
    for studio in studios:
        logo = by_name.get(studio.name.casefold())
        if logo is None:
            continue
        is_outdated = logo.shown_sha256 is not None and logo.shown_sha256 != logo.sha256
        if is_outdated or not studio.has_picture:
            changes.append(PictureChange(studio, logo))
    return changes
