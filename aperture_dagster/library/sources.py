"""The sources of enrichment: name, key, and the ids by which each can be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["movie", "series", "collection", "company", "network"]
AsksBy = Literal["any", "any_known", "imdb", "imdb_or_tmdb"]
TITLES: tuple[Kind, ...] = ("movie", "series")


@dataclass(frozen=True, slots=True)
class Source:
    """A source of facts about the library.

    ``name`` is what the work list knows it by, ``label`` what people read. ``asks_by`` says which ids a title needs:
    ``any_known`` (TMDb, IMDb or, of a series, TVDb), ``imdb`` or ``imdb_or_tmdb``; ``any`` for what has no ids.
    """

    name: str
    label: str
    kinds: tuple[Kind, ...]
    key_setting: str
    asks_by: AsksBy = "any"


TMDB = Source("tmdb", "TMDb", TITLES, "TMDB_API_KEY", asks_by="any_known")
TMDB_COLLECTIONS = Source("tmdb", "TMDb", ("collection",), "TMDB_API_KEY")
TMDB_IMAGES = Source("tmdb_images", "TMDb's pictures", ("company", "network"), "TMDB_API_KEY")
OMDB = Source("omdb", "OMDb", TITLES, "OMDB_API_KEY", asks_by="imdb")
MDBLIST = Source("mdblist", "MDBList", TITLES, "MDBLIST_API_KEY", asks_by="imdb_or_tmdb")
# One name each: collections are on TMDb's own list, under their kind.
SOURCES = (TMDB, OMDB, MDBLIST, TMDB_IMAGES)
