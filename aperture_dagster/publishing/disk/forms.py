"""Choose the form in which titles are published, depending on the media server and its version."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

Form = Literal["symlink", "strm"]
FormSetting = Literal["auto", "symlink", "strm", "rows"]
Product = Literal["jellyfin", "emby"]

# From this version on, Jellyfin plays only network addresses from STRM files.
NO_LOCAL_STRM = (10, 11, 7)
# From this version on, Jellyfin keeps what was watched per item, not per provider id.
HISTORY_PER_ITEM = (10, 11)


def choose_form(setting: FormSetting, product: Product) -> Form:
    """Return how published titles refer to the originals; auto: symlinks on Jellyfin, STRM files on Emby.

    With rows, there are none; those of earlier settings count as usual.
    """
    if setting not in ("auto", "rows"):
        return setting
    return "symlink" if product == "jellyfin" else "strm"


def form_warning(form: Form, product: Product, version: tuple[int, ...]) -> str | None:
    """Return a sentence for the operator if published titles would not play, or soon would not."""
    if form != "strm" or product != "jellyfin":
        return None
    when = "do not play" if version >= NO_LOCAL_STRM else "will not play after an update"
    return (
        f"Published titles {when}: from version {'.'.join(map(str, NO_LOCAL_STRM))} on, Jellyfin plays no STRM files "
        "with local paths. Set APERTURE_PUBLISH_AS to symlink or auto."
    )


def shares_history(product: Product, version: tuple[int, ...]) -> bool:
    """Return whether the server shares by ids of other services what was watched on a copy and on the original.

    Published titles carry these ids there. On newer Jellyfin versions, they would move history between items instead.
    """
    return product == "emby" or version < HISTORY_PER_ITEM


def merges_versions(plugins: Iterable[str]) -> bool:
    """Return whether a plugin would merge published titles that carry ids with their originals."""
    return any(re.search("merge.*version", name, re.IGNORECASE) for name in plugins)
