"""What other people watched together, from a folder of the operator."""

import hashlib
from typing import TYPE_CHECKING

import dagster as dg

from aperture_dagster.resources.crowd import read_crowd
from aperture_dagster.settings import Settings

if TYPE_CHECKING:
    import pandas as pd


def crowd_hash(settings: Settings) -> str:
    """Return a hash of which files the crowd is read from, and of their sizes and times; empty without a crowd."""
    if settings.crowd_folder is None:
        return ""
    folder = settings.crowd_folder.expanduser()
    states = [(path.name, path.stat()) for path in sorted(folder.glob("*")) if path.is_file()]
    files = [(name, state.st_size, state.st_mtime_ns, state.st_ctime_ns) for name, state in states]
    return hashlib.blake2b(repr((str(folder), files)).encode(), digest_size=8).hexdigest()


def read_configured_crowd(
    context: dg.AssetExecutionContext, settings: Settings, items: "pd.DataFrame"
) -> "pd.DataFrame | None":
    """Read what other people watched together, as far as it is in ``items``, when the operator points to it."""
    if settings.crowd_folder is None:
        return None
    films = items[items["media_type"] == "movie"]
    works = films["work_id"]
    by_tmdb_id = {int(tmdb): work for work, tmdb in zip(works, films["tmdb_id"], strict=True) if tmdb == tmdb}
    by_imdb_id = {imdb: work for work, imdb in zip(works, films["imdb_id"], strict=True) if imdb}
    crowd = read_crowd(settings.crowd_folder.expanduser(), by_tmdb_id, by_imdb_id)
    people = crowd["user_id"].nunique()
    context.log.info(f"{people:,} people from outside, {len(crowd):,} ratings of known films")
    return crowd
