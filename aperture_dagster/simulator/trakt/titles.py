"""The world's titles as Trakt knows them: by its own ids, slugs, and those of other services."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from aperture_dagster.simulator.catalogue import stable_number
from aperture_dagster.simulator.opinions import share
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import WorldTitle

Kind = Literal["movies", "shows"]
ID_NAMES: Mapping[str, tuple[str, ...]] = {
    "movies": ("trakt", "slug", "imdb", "tmdb"),
    "shows": ("trakt", "slug", "imdb", "tmdb", "tvdb"),
}
"""Names of the ids that Trakt takes for a title, in the order in which it looks them up."""
_OTHERS = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class TraktTitle:
    """A film or show on Trakt."""

    title: WorldTitle
    ids: Mapping[str, int | str | None]

    @property
    def key(self) -> str:
        """The title's key in the world."""
        return self.title.key

    @property
    def number(self) -> int:
        """Trakt's own id."""
        return int(self.ids["trakt"] or 0)

    def summary(self) -> dict[str, Any]:
        """Return the title as it is nested in other answers."""
        return {"title": self.title.title, "year": self.title.year, "ids": dict(self.ids)}


def trakt_id(key: str, generation: int = 0) -> int:
    """Return Trakt's id of a title. A title whose duplicate was merged has the id of another generation.

    Trakt numbers films and shows separately: ``movie:1`` and ``series:1`` have the same id.
    """
    name = key.partition(":")[2] or key
    return 1 + stable_number(f"{name}|trakt" + (f"|{generation}" if generation else "")) % 1_000_000_000


class TitleBook:
    """The titles that Trakt knows. Some it does not know, and of some it lacks an id."""

    def __init__(
        self, settings: SimulatorSettings, titles: Mapping[str, WorldTitle], version: Callable[[], int]
    ) -> None:
        self._settings = settings
        self._titles = titles
        self._titles_version = version
        self._version = -1
        self._known: dict[str, TraktTitle] = {}
        self._by_id: dict[tuple[str, str, str], TraktTitle] = {}
        self._changed: dict[str, Mapping[str, int | str | None] | None] = {}
        self._generations: dict[str, int] = {}

    def change(self, key: str, ids: Mapping[str, int | str | None] | None) -> None:
        """Replace some ids of a title, or take it away (None). Raises KeyError for an unknown title."""
        kind = _kind(self._titles[key])
        if ids is not None and (unknown := ids.keys() - set(ID_NAMES[kind])):
            raise ValueError(f"{kind} have no {', '.join(sorted(unknown))}")
        self._changed[key] = ids
        self._version = -1

    def renumber(self, key: str) -> None:
        """Give a title another id and slug, as when Trakt merges duplicates. Raises KeyError for an unknown title."""
        self._generations[key] = self._generations.get(self._titles[key].key, 0) + 1
        self._version = -1

    def of_key(self, key: str) -> TraktTitle | None:
        """Return a title by its key in the world; None when Trakt does not know it."""
        self._refresh()
        return self._known.get(key)

    def find(self, kind: str, ids: Mapping[str, Any]) -> TraktTitle | None:
        """Return the title that one of these ids belongs to; the first id that Trakt knows decides."""
        self._refresh()
        for name in ID_NAMES[kind]:
            if ids.get(name) is not None and (found := self._by_id.get((kind, name, str(ids[name])))):
                return found
        return None

    def of_kind(self, kind: str) -> Iterator[TraktTitle]:
        """Yield all films or shows."""
        self._refresh()
        return (known for known in self._known.values() if _kind(known.title) == kind)

    def _refresh(self) -> None:
        if self._version == self._titles_version():
            return
        self._version = self._titles_version()
        self._known = {key: one for key, title in self._titles.items() if (one := self._record(title)) is not None}
        self._by_id.clear()
        for known in self._known.values():
            for name, value in known.ids.items():
                if value is not None:
                    self._by_id.setdefault((_kind(known.title), name, str(value)), known)

    def _record(self, title: WorldTitle) -> TraktTitle | None:
        key, kind = title.key, _kind(title)
        if key not in self._changed and share(key, "trakt") < self._settings.trakt_unknown_share:
            return None
        changed = self._changed.get(key, {})
        if changed is None:
            return None
        generation = self._generations.get(key, 0)
        ids: dict[str, int | str | None] = {
            "trakt": trakt_id(key, generation),
            "slug": _slug(title) + (f"-{generation + 1}" if generation else ""),
            "imdb": title.imdb_id or None,
            "tmdb": title.tmdb_id,
            "tvdb": title.tvdb_id,
        }
        lacking = "imdb" if kind == "movies" else "tvdb"
        if share(key, "trakt ids") < self._settings.trakt_missing_ids_share:
            ids[lacking] = None
        return TraktTitle(title, {name: ids[name] for name in ID_NAMES[kind]} | dict(changed))


def _kind(title: WorldTitle) -> Kind:
    return "movies" if title.media_type == "movie" else "shows"


def _slug(title: WorldTitle) -> str:
    return _OTHERS.sub("-", f"{title.title} {title.year or ''}".lower()).strip("-") or title.key.replace(":", "-")
