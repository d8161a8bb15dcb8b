"""Settings of embeddings, recommendations and Top Picks."""

import re
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, PositiveInt, StringConstraints

from aperture_dagster.settings.types import Address, Secret, SettingsGroup, Share

TMDB_LISTS = ("popular", "trending", "top_rated")
# MDBList's orders of a list, except for ``random``, which would be another list every time.
MDBLIST_SORTS = (
    "rank", "score", "usort", "score_average", "released", "releasedigital", "imdbrating", "imdbvotes",
    "last_air_date", "imdbpopular", "tmdbpopular", "rogerebert", "rtomatoes", "rtaudience", "metacritic",
    "myanimelist", "letterrating", "lettervotes", "budget", "revenue", "runtime", "title", "added",
)  # fmt: skip
_LIST_ADDRESS = re.compile(r"https?://(?:www\.)?mdblist\.com/lists/", re.IGNORECASE)
_LIST_NAME = re.compile(r"[0-9]{1,12}|[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")


class TopPicksSource(NamedTuple):
    """What Top Picks are made from: the household's plays, a list of a service, or both."""

    is_local: bool
    service: Literal["tmdb", "mdblist"] | None = None
    list_name: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the text of a setting.

        Raises:
            ValueError: it names no source.
        """
        if text == "local":
            return cls(True)
        is_local = text.startswith("local+")
        service, _, name = text.removeprefix("local+").partition(":")
        if service == "tmdb":
            if name not in TMDB_LISTS:
                raise ValueError(f"expected one of {', '.join(f'tmdb:{one}' for one in TMDB_LISTS)}")
            return cls(is_local, "tmdb", name)
        if service != "mdblist":
            raise ValueError("expected local, tmdb:popular, mdblist:2194, or local+ and one of these lists")
        name = _LIST_ADDRESS.sub("", name.strip(), count=1).strip("/")
        if not _LIST_NAME.fullmatch(name) or ".." in name:
            raise ValueError("expected a list of MDBList by its number or as user/slug, such as mdblist:2194")
        return cls(is_local, "mdblist", name)

    @property
    def kind(self) -> Literal["local", "hybrid", "tmdb", "mdblist"]:
        """What the rows of a list say about their source."""
        return "local" if self.service is None else "hybrid" if self.is_local else self.service


def _check_source(value: str) -> str:
    TopPicksSource.parse(value)
    return value


def _check_sort(value: str | None) -> str | None:
    by, _, order = (value or "").partition(".")
    if value is not None and (by not in MDBLIST_SORTS or order not in ("asc", "desc")):
        names = ", ".join(MDBLIST_SORTS)
        raise ValueError(f"expected one of {names}, with .asc or .desc, such as score.desc")
    return value


SourceText = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_check_source)]
MdblistSort = Annotated[str | None, AfterValidator(_check_sort)]


class EmbedderSettings(SettingsGroup):
    """Embeddings."""

    embedder: Literal["static", "fastembed", "openai"] = "static"
    """Embedding backend: static (local, ships with the package), fastembed (local transformer, extra
    `transformer`), openai (any OpenAI-compatible endpoint: OpenAI, Ollama, LM Studio).
    """
    embedder_model: str | None = None
    """Model of fastembed or the endpoint. Defaults: BAAI/bge-small-en-v1.5, text-embedding-3-small."""
    embedder_url: Address = "https://api.openai.com/v1"
    """Base address of the OpenAI-compatible endpoint."""
    embedder_api_key: Secret = Field(default=None, validation_alias="OPENAI_API_KEY")
    """API key of that endpoint, if it requires one."""


class RecommendationSettings(SettingsGroup):
    """Taste and recommendations."""

    recommendations_per_list: int = Field(default=50, ge=1, le=500)
    """Titles per user and media type."""
    diversity: Share = 0.1
    """Weight of variety within a list: 0 ranks by score alone, 1 by variety alone."""


class TopPicksSettings(SettingsGroup):
    """Top Picks."""

    top_picks_window_days: PositiveInt = 30
    """Days of plays that Top Picks are based on."""
    top_picks_per_list: int = Field(default=10, ge=1, le=200)
    """Titles per media type in Top Picks."""
    top_picks_minimum_viewers: PositiveInt = 2
    """Viewers that a pick needs; lowered automatically when too few titles have them."""
    top_picks_mdblist_sort: MdblistSort = None
    """Order of lists of MDBList, such as score.desc or released.desc. Default: that of the list."""
    top_picks_local_weight: Share = 0.5
    """Weight of the household's plays where they are combined with a list; the list has the rest."""
    top_picks_movies_source: SourceText = "local"
    """Source of the films: `local` (the household's plays), or a list, of which the library's titles are taken:
    `tmdb:popular`, `tmdb:trending` (of the week), `tmdb:top_rated`, or `mdblist:` and its number, user/slug or address.
    Both together: `local+tmdb:popular`.
    """
    top_picks_series_source: SourceText = "local"
    """Source of the series, likewise."""
