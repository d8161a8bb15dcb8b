"""In which form titles are published, depending on the media server and its version."""

from __future__ import annotations

from typing import Literal

Form = Literal["symlink", "hardlink", "strm"]
FormSetting = Literal["auto", "symlink", "hardlink", "strm"]
IdsSetting = Literal["auto", "all", "none"]
Product = Literal["jellyfin", "emby"]

# From this version on, Jellyfin plays only network addresses from STRM files.
NO_LOCAL_STRM = (10, 11, 7)
# From this version on, Jellyfin keeps what was watched per item, not per provider id.
HISTORY_PER_ITEM = (10, 11)


def choose_form(setting: FormSetting, product: Product, version: tuple[int, ...]) -> Form:
    """Return how published titles refer to the originals; auto: symlinks on Jellyfin, STRM files on Emby."""
    if setting != "auto":
        return setting
    return "symlink" if product == "jellyfin" else "strm"


def form_warning(form: Form, product: Product, version: tuple[int, ...]) -> str | None:
    """Return a sentence for the operator if published titles would not play, or soon would not."""
    if form != "strm" or product != "jellyfin":
        return None
    if version >= NO_LOCAL_STRM:
        return (
            f"Jellyfin {_text(version)} does not play STRM files with local paths: published titles will be listed, "
            "but will not start. Set APERTURE_PUBLISH_AS to symlink or auto."
        )
    return (
        f"Published STRM files play on Jellyfin {_text(version)}, but not from {_text(NO_LOCAL_STRM)} on, and some "
        "clients mark them as played when they start. Set APERTURE_PUBLISH_AS to symlink or auto."
    )


def choose_ids(setting: IdsSetting, product: Product, version: tuple[int, ...]) -> bool:
    """Return whether published titles carry the provider ids of the originals.

    auto: only where the server shares by them what was watched, which is all or nothing. On newer Jellyfin versions,
    the ids would move history between items instead.
    """
    if setting != "auto":
        return setting == "all"
    return product == "emby" or version < HISTORY_PER_ITEM


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
