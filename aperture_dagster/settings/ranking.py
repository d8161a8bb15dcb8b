"""Settings of embeddings, recommendations and Top Picks."""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationInfo,
    field_validator,
)

from aperture_dagster.settings.types import Address, Secret, SettingsGroup, Share

TopPicksSource = Literal["local", "mdblist", "tmdb", "hybrid"]
# MDBList's orders of a list, except for ``random``, which would be another list every time.
MDBLIST_SORTS = (
    "rank", "score", "usort", "score_average", "released", "releasedigital", "imdbrating", "imdbvotes",
    "last_air_date", "imdbpopular", "tmdbpopular", "rogerebert", "rtomatoes", "rtaudience", "metacritic",
    "myanimelist", "letterrating", "lettervotes", "budget", "revenue", "runtime", "title", "added",
)  # fmt: skip
_LIST_ADDRESS = re.compile(r"https?://(?:www\.)?mdblist\.com/lists/", re.IGNORECASE)
_LIST_NAME = re.compile(r"[0-9]{1,12}|[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")


def _list_text(value: Any) -> Any:
    """Let a number be written without quotes, and a list be named by its address."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        return _LIST_ADDRESS.sub("", value.strip(), count=1).strip("/") or None
    return value


def _check_list(value: str | None) -> str | None:
    if value is not None and (not _LIST_NAME.fullmatch(value) or ".." in value):
        raise ValueError("expected a list of MDBList by its number or as user/slug, such as 2194 or anna/best-films")
    return value


def _check_sort(value: str | None) -> str | None:
    by, _, order = (value or "").partition(".")
    if value is not None and (by not in MDBLIST_SORTS or order not in ("asc", "desc")):
        names = ", ".join(MDBLIST_SORTS)
        raise ValueError(f"expected one of {names}, with .asc or .desc, such as score.desc")
    return value


MdblistList = Annotated[str | None, BeforeValidator(_list_text), AfterValidator(_check_list)]
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
    top_picks_history_days: NonNegativeInt = 30
    """Number of days before the installation for which Top Picks can also be made, if the log of plays covers them."""
    top_picks_tmdb_list: Literal["popular", "trending", "top_rated"] = "popular"
    """TMDb's list for the source tmdb; trending is that of the week."""
    top_picks_mdblist_movies: MdblistList = None
    """List of MDBList for films: its number, user/slug or address."""
    top_picks_mdblist_series: MdblistList = None
    """List of MDBList for series."""
    top_picks_mdblist_sort: MdblistSort = None
    """Order of these lists, such as score.desc or released.desc. Default: that of the list."""
    top_picks_hybrid_with: Literal["tmdb", "mdblist"] = "tmdb"
    """What the source hybrid combines with the household's plays."""
    top_picks_local_weight: Share = 0.5
    """Weight of the household's plays in the source hybrid; the list from outside has the rest."""
    top_picks_movies_source: TopPicksSource = "local"
    """Source of the films: local (the household's plays), mdblist or tmdb (a list, of which the library's titles are
    taken), hybrid (both).
    """
    top_picks_series_source: TopPicksSource = "local"
    """Source of the series, likewise."""

    # The sources come last because a validator sees only the fields before its own.
    @field_validator("top_picks_movies_source", "top_picks_series_source")
    @classmethod
    def _check_source(cls, value: str, info: ValidationInfo) -> str:
        """Refuse MDBList without a list."""
        of_list = (info.field_name or "").replace("_source", "").replace("top_picks_", "top_picks_mdblist_")
        uses_mdblist = value == "mdblist" or (value == "hybrid" and info.data.get("top_picks_hybrid_with") == "mdblist")
        # A list that is itself impossible is absent, and reported by itself.
        if uses_mdblist and info.data.get(of_list, "") is None:
            raise ValueError(f"MDBList needs a list: set {of_list} to its number or user/slug")
        return value
