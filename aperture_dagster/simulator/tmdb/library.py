"""The world's titles as TMDb knows them, by their ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date

from aperture_dagster.simulator.world import WorldTitle

_RECOMMENDED_AT_MOST = 40
_SIMILAR_AT_MOST = 20


class TitleIndex:
    """Titles by TMDb, IMDb and TVDb id. Rebuilt when the titles change.

    ``today`` decides what is available by now.
    """

    def __init__(self, titles: Iterable[WorldTitle], today: date) -> None:
        self.today = today
        self.movies: dict[int, WorldTitle] = {}
        self.series: dict[int, WorldTitle] = {}
        self.by_imdb: dict[str, WorldTitle] = {}
        self.by_tvdb: dict[int, WorldTitle] = {}
        self.collections: dict[int, list[WorldTitle]] = {}
        for title in titles:
            if title.tmdb_id is None:
                continue
            self._of(title.media_type).setdefault(title.tmdb_id, title)
            if title.imdb_id:
                self.by_imdb.setdefault(title.imdb_id, title)
            if title.tvdb_id is not None and title.media_type == "series":
                self.by_tvdb.setdefault(title.tvdb_id, title)
            if title.collection is not None:
                self.collections.setdefault(title.collection[0], []).append(title)
        self._by_keyword: dict[str, dict[str, list[int]]] = {}
        self._popular: dict[str, list[WorldTitle]] = {}

    def _of(self, media_type: str) -> dict[int, WorldTitle]:
        return self.movies if media_type == "movie" else self.series

    def recommended(self, title: WorldTitle) -> list[WorldTitle]:
        """Return the world's recommendations for a title: at most 40 that TMDb knows, of the same media type."""
        known: Mapping[int, WorldTitle] = self._of(title.media_type)
        found = [known[tmdb_id] for tmdb_id in title.recommended_tmdb_ids if tmdb_id in known]
        return found[:_RECOMMENDED_AT_MOST]

    def similar(self, title: WorldTitle) -> list[WorldTitle]:
        """Return at most 20 titles of the same media type that share most keywords with a title, then genres."""
        known = self._of(title.media_type)
        named = self._by_keyword.get(title.media_type)
        if named is None:
            named = self._by_keyword[title.media_type] = {}
            for number, other in known.items():
                for keyword in other.keywords:
                    named.setdefault(keyword, []).append(number)
        shared = Counter(number for keyword in title.keywords for number in named.get(keyword, ()))
        shared.pop(title.tmdb_id or 0, None)
        genres = set(title.genres)
        order = sorted(shared, key=lambda one: (-shared[one], -len(genres & set(known[one].genres)), one))
        found = [known[number] for number in order]
        return found[:_SIMILAR_AT_MOST]

    def popular(self, media_type: str) -> list[WorldTitle]:
        """Return all titles of a media type, the most popular first."""
        found = self._popular.get(media_type)
        if found is None:
            found = sorted(self._of(media_type).values(), key=lambda title: -(title.popularity or 0.0))
            self._popular[media_type] = found
        return found
