"""Settings of embeddings, recommendations and Top Picks, and of what is published on the media server."""

import re
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import NoDecode

from aperture_dagster.settings.types import (
    Address,
    OptionalAddress,
    Secret,
    SettingsGroup,
    Share,
    Texts,
    parse_json,
    split_names,
)

# Settings of embeddings, recommendations and Top Picks.


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


def _check_name(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("expected a name")
    return value.strip()


def _check_source(value: str) -> str:
    TopPicksSource.parse(value)
    return value


def _check_sort(value: str | None) -> str | None:
    by, _, order = (value or "").partition(".")
    if value is not None and (by not in MDBLIST_SORTS or order not in ("asc", "desc")):
        names = ", ".join(MDBLIST_SORTS)
        raise ValueError(f"expected one of {names}, with .asc or .desc, such as score.desc")
    return value


def _check_weights(given: dict[str, float]) -> dict[str, float]:
    for name in given:
        if name not in WEIGHTS:
            raise ValueError(f"expected weights of {', '.join(WEIGHTS)}, not of {name}")
    if given and not any(given.get(name, name != "recency") for name in WEIGHTS):
        raise ValueError("expected a weight above 0, since otherwise nothing ranks titles")
    return given


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


WEIGHTS = ("similarity", "era", "co_watch", "recommended_from", "rating", "popularity", "recency")
PROFILES: dict[str, dict[str, float]] = {
    "balanced": {},
    "personal": {"similarity": 1.5, "popularity": 0.5, "rating": 0.5},
    "recent": {"recency": 0.6},
}
"""What the components of a score are multiplied with; ``recency`` is one only where it has a weight."""


class RecommendationRules(BaseModel):
    """How the lists of a media type are made.

    Args:
        per_list: number of titles.
        profile: what leads; see ``PROFILES``.
        diversity: weight of variety within a list: 0 ranks by score alone, 1 by variety alone.
        weights: by component, in place of what the profile has.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_list: int = Field(default=50, ge=1, le=500)
    profile: Literal["balanced", "personal", "recent"] = "balanced"
    diversity: Share = 0.1
    weights: Annotated[dict[str, Annotated[float, Field(ge=0, le=5)]], AfterValidator(_check_weights)] = {}

    @property
    def factors(self) -> dict[str, float]:
        """What the components of a score are multiplied with, where that is not 1."""
        return PROFILES[self.profile] | self.weights


RecommendationJson = Annotated[RecommendationRules, NoDecode, BeforeValidator(parse_json)]


class RecommendationSettings(SettingsGroup):
    """Taste and recommendations."""

    recommendations_movies: RecommendationJson = RecommendationRules()
    """How lists of films are made, and suggestions of films outside the library, as a JSON object of what is
    not the default: `{"profile": "recent", "per_list": 30}`. `per_list` is the number of
    titles. `profile` is what leads: `balanced` is what was [measured](ranking.md#measured-quality), `personal` has less
    of what everybody watches, for people who know the famous titles; `recent` has more of the last years, for a library
    that grows by new releases. `diversity` is the weight of variety within a list: 0 ranks by score alone, 1 by variety
    alone. `weights` are for [experts](ranking.md#profiles-and-weights).
    """
    recommendations_series: RecommendationJson = RecommendationRules()
    """How lists of series are made, likewise."""
    crowd_url: OptionalAddress = "https://files.grouplens.org/datasets/movielens"
    """Address from which `aperture crowd fetch` downloads histories of
    [other people](ranking.md#an-external-crowd), or of a mirror. `off`: no crowd is fetched or recommended.
    """

    @property
    def recommendation_rules(self) -> dict[str, RecommendationRules]:
        """How lists are made, by media type."""
        return {"movie": self.recommendations_movies, "series": self.recommendations_series}


class TopPicksRules(BaseModel):
    """How the Top Picks of a media type are made.

    Args:
        source: the household's plays (``local``), a list of which the library's titles are taken, or both.
        per_list: number of titles.
        window_days: days of plays that they are based on.
        minimum_viewers: viewers that a pick needs; lowered to 2 when too few titles have them. With 1, everybody sees
            what one person watched.
        local_weight: weight of the household's plays where they are combined with a list; the list has the rest.
        mdblist_sort: order of a list of MDBList, such as score.desc; None: that of the list.
        name: what they are called where they are published; None: as in ``publish_names``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: SourceText = "local"
    per_list: int = Field(default=10, ge=1, le=200)
    window_days: PositiveInt = 30
    minimum_viewers: PositiveInt = 2
    local_weight: Share = 0.5
    mdblist_sort: MdblistSort = None
    name: Annotated[str, AfterValidator(_check_name)] | None = None


Rules = Annotated[TopPicksRules, NoDecode, BeforeValidator(parse_json)]


class TopPicksSettings(SettingsGroup):
    """Top Picks."""

    top_picks_movies: Rules = TopPicksRules()
    """How the films are picked, as a JSON object of what is not the default:
    `{"window_days": 14, "per_list": 20}`. There are `window_days`, the days of plays that count; `per_list`, the number
    of titles; `minimum_viewers`, lowered to 2 when too few titles have them (with 1, everybody sees what one person
    watched); and `source`: `local` (the household's plays), or a list, of which the library's titles are taken:
    `tmdb:popular`, `tmdb:trending` (of the week), `tmdb:top_rated`, or `mdblist:` and its number, user/slug or address;
    both together: `local+tmdb:popular`, in which the plays have `local_weight` (0 to 1) and the list the rest.
    `mdblist_sort` is the order of a list of MDBList, such as `score.desc`; `name` is what they are called where they
    are published.
    """
    top_picks_series: Rules = TopPicksRules()
    """How the series are picked, likewise."""

    @field_validator("top_picks_series")
    @classmethod
    def _check_names(cls, series: TopPicksRules, info: ValidationInfo) -> TopPicksRules:
        films = info.data.get("top_picks_movies")
        if films is not None and series.name and series.name.casefold() == (films.name or "").casefold():
            raise ValueError("expected another name than that of the films, so that no two lists share a library")
        return series

    @property
    def top_picks_rules(self) -> dict[str, TopPicksRules]:
        """How Top Picks are made, by media type."""
        return {"movie": self.top_picks_movies, "series": self.top_picks_series}


# Settings of what is published on the media server.


def _check_template(value: str) -> str:
    """Accept a name in which only the placeholders of a template appear in braces."""
    try:
        _check_name(value.format(username="name", type="type"))
    except (LookupError, AttributeError):
        raise ValueError("expected a name with no other placeholders than {username} and {type}") from None
    return value.strip()


def _check_names(given: dict[str, str]) -> dict[str, str]:
    """Accept names for kinds of lists that are distinct for each user and media type; the others keep their default."""
    for kind, value in given.items():
        if kind not in DEFAULT_NAMES:
            raise ValueError(f"expected names for {', '.join(DEFAULT_NAMES)}, not for {kind}")
        for placeholder in ("{username}", "{type}"):
            if placeholder in DEFAULT_NAMES[kind] and placeholder not in value:
                raise ValueError(f"expected {placeholder} in the name for {kind}, so that no two lists share a library")
    return DEFAULT_NAMES | {kind: _check_template(value) for kind, value in given.items()}


DEFAULT_NAMES = {
    "recommendations": "{username}'s AI Picks - {type}",
    "top_picks": "Top Picks - {type}",
    "shows_you_watch": "Shows You Watch - {username}",
    "for_later": "For Later - {username}",
}
PublishedAs = Literal[
    "recommendation_libraries", "recommendation_playlists", "top_picks_libraries", "top_picks_collections",
    "top_picks_playlists", "shows_you_watch_libraries", "for_later_playlists",
]  # fmt: skip


class PublishingSettings(SettingsGroup):
    """Publishing on the media server."""

    publish: bool = False
    """Whether anything is published on the media server: libraries, collections, playlists."""
    publish_root: Path | None = None
    """Folder for published libraries, as this machine sees it. The media server must see it, too, and it must not be
    inside one of its libraries. A marker file shows that it is the right one. Libraries move when the setting changes.
    """
    path_map: Texts = Field(default_factory=dict)
    """Folders that the media server sees under another path, as a JSON object of this machine's paths and the
    server's: `{"/volume1/aperture": "/aperture"}`.
    """
    publish_as: Literal["auto", "symlink", "strm", "rows"] = "auto"
    """How published titles refer to the originals. auto: symlinks on Jellyfin, STRM files on Emby. rows: nothing is
    placed on the server; lists are [rows on Jellyfin's home screen](publishing.md#rows-on-the-home-screen).
    """
    publish_strict_access: bool = True
    """Whether users who may see all libraries get a list of them instead, so that they cannot find the published
    libraries of others. Libraries that you add are added to it. If not, those of others are hidden in their views.
    """
    publish_reasons: Literal["tagline", "overview", "off"] = "tagline"
    """Where the page of a recommended title says why: in place of its tagline, above its overview, or nowhere."""
    publish_lists: Annotated[tuple[PublishedAs, ...], NoDecode, BeforeValidator(split_names)] = (
        "recommendation_libraries", "top_picks_libraries", "shows_you_watch_libraries", "for_later_playlists",
    )  # fmt: skip
    """What is published, of recommendation_libraries, recommendation_playlists, top_picks_libraries,
    top_picks_collections, top_picks_playlists (one for each user), shows_you_watch_libraries, and for_later_playlists
    (what members put aside, for each of them).
    """
    publish_names: Annotated[Texts, AfterValidator(_check_names)] = DEFAULT_NAMES
    """Names of libraries, collections and playlists, as a JSON object of those that are not the default:
    `{"top_picks": "Best of - {type}"}`.
    """


class WatchingSettings(SettingsGroup):
    """Shows You Watch."""

    shows_you_watch_minimum_episodes: PositiveInt = 2
    """Episodes of a series that a user must have played."""
    shows_you_watch_days: NonNegativeInt = 60
    """Days since the last played episode after which a series is no longer listed; 0: never."""
    shows_you_watch_ended_days: NonNegativeInt = 0
    """The same for series that have ended or were canceled; 0: they are not listed."""
