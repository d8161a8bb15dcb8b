"""The plan of discovery: which lists to read, and the details of which titles to request, for all users together.

Lists and details are shared: what several users want is requested once. Both have a budget per day, which is spent on
the users in turns, the best of each first. Nothing here is random, so a second run on a day wants what the first did.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal, TypeVar

from aperture_dagster.library.identity import MediaType
from aperture_dagster.library.listed import DiscoverFilters, SuggestedTitle
from aperture_dagster.library.suitability import ENGLISH, least_votes

Source = Literal["recommendations", "discover", "trakt"]
MEDIA_TYPES: tuple[MediaType, ...] = ("movie", "series")
# Liked titles per user and media type whose recommendations count; the first page of each is known already.
SEEDS = 60
# The strongest of them, whose second page is requested, too.
DEEP_SEEDS = 5
# A first page with fewer titles has no second one.
PAGE = 20
GENRES, KEYWORDS, PEOPLE, LANGUAGES = 4, 5, 5, 3
# Pages of a query: one a day, so that every day brings titles that were not there before.
DEPTH = 5
# TMDb refuses pages beyond this one.
LAST_PAGE = 500
# How much lists count that somebody's taste led to, against the strongest seed's, and lists of what is well known.
BY_TRAIT, WELL_KNOWN = 0.5, 0.05
# Titles per user and media type that are kept in the pool for them.
WANTED = 600
# With fewer titles of a media type for everybody together, more pages are read on the same day.
ENOUGH = 600
# Requests for lists per day, for all users together.
LISTS_PER_DAY = 80
# Days that count as new for a query by release.
RECENT_DAYS = 365
# So many titles must have a person in common to make them a trait of a taste.
TITLES_OF_A_PERSON = 2
# Ranks of lists are blurred by this many places, so that being on two lists beats being first on one.
BLUR = 10

One = TypeVar("One")


@dataclass(frozen=True, slots=True)
class LikedTitle:
    """A title in the library that a user likes; ``weight`` is positive."""

    work_id: int
    media_type: str
    tmdb_id: int
    weight: float
    last_played_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Trait:
    """Something that a user's liked titles have in common: a genre, keyword or person, with TMDb's id."""

    kind: Literal["genre", "keyword", "person"]
    name: str
    tmdb_id: int

    @property
    def seed(self) -> str:
        """The trait as the seed of a suggestion."""
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A list on TMDb: recommendations from a title (``tmdb_id``), or titles that pass ``filters``.

    ``seed`` says why it is read for a user, and does not belong to the identity of the list. A ``filler`` is about no
    taste, and is read only while there are few titles.
    """

    media_type: MediaType
    seed: str = field(compare=False)
    tmdb_id: int | None = None
    filters: DiscoverFilters | None = None
    is_filler: bool = field(default=False, compare=False)

    @property
    def source(self) -> Source:
        """The source of its suggestions."""
        return "discover" if self.filters is not None else "recommendations"

    def pages(self, *, again: bool = True) -> range:
        """Return the pages to read, those of usual days or ``again``, of days with few titles.

        The first page of recommendations comes with the details of their title, and there are two.
        """
        if self.filters is None:
            return range(2, 3)
        return range(1, (LAST_PAGE if again else 0 if self.is_filler else DEPTH) + 1)

    def request(self, page: int) -> str:
        """Name the request for a page, the same for all users."""
        what = f"discover?{self.filters.key}" if self.filters is not None else f"{self.tmdb_id}/recommendations"
        return f"{self.media_type}/{what}/{page}"


@dataclass(frozen=True, slots=True)
class KnownList:
    """A page of a list that was read before."""

    entries: tuple[SuggestedTitle, ...]
    has_more: bool
    read_today: bool


@dataclass(slots=True)
class UserPlan:
    """What is read for one user: the recommendations of ``seeds``, strongest first, and ``queries``.

    ``trakt`` are what Trakt recommends by media type. ``hidden`` are TMDb ids by media type that are not suggested to
    them: watched, rated, dismissed, requested.
    """

    user_id: str
    seeds: Sequence[LikedTitle] = ()
    queries: Sequence[ListQuery] = ()
    trakt: Mapping[MediaType, Sequence[SuggestedTitle]] = field(default_factory=dict)
    hidden: Mapping[str, Collection[int]] = field(default_factory=dict)
    languages: frozenset[str] = frozenset({ENGLISH})


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A list that suggested a title, why it was read, and the title's rank in it, from 1 on."""

    source: Source
    seed: str
    rank: int


@dataclass(slots=True)
class Wanted:
    """A title that is suggested to a user; ``score`` orders a user's titles before anything else is known of them."""

    media_type: MediaType
    ids: SuggestedTitle
    score: float = 0.0
    suggestions: list[Suggestion] = field(default_factory=list)

    @property
    def key(self) -> tuple[MediaType, int]:
        """The title's key among all users' titles."""
        return (self.media_type, self.ids.tmdb_id or 0)


def choose_seeds(liked: Iterable[LikedTitle], media_type: str, *, most: int = SEEDS) -> list[LikedTitle]:
    """Choose what to start from: in turns the most liked titles and the last watched ones that were liked."""
    own = [one for one in liked if one.media_type == media_type and one.weight > 0]
    never = datetime.min.replace(tzinfo=UTC)
    by_weight = sorted(own, key=lambda one: (-one.weight, one.work_id))
    by_date = sorted(own, key=lambda one: (one.last_played_at or never, -one.work_id), reverse=True)
    chosen = {one.work_id: one for one in take_turns([by_weight, by_date])}
    return list(chosen.values())[:most]


def distinctive_people(
    seeds: Sequence[LikedTitle], people: Mapping[int, Mapping[str, int]], in_library: Mapping[int, int], titles: int
) -> list[Trait]:
    """Return the people who set a user's liked titles apart from the library, the most distinctive first.

    Args:
        seeds: liked titles of one media type.
        people: names and ids of those who make a title what it is, by work.
        in_library: the number of the library's titles by person's id.
        titles: the number of the library's titles of this media type.
    """
    mass: defaultdict[int, float] = defaultdict(float)
    count: Counter[int] = Counter()
    names: dict[int, str] = {}
    total = sum(one.weight for one in seeds)
    for one in seeds:
        for name, person_id in people.get(one.work_id, {}).items():
            mass[person_id] += one.weight / total
            count[person_id] += 1
            names.setdefault(person_id, name)
    found = []
    for person_id, share in mass.items():
        usual = max(in_library.get(person_id, 0), count[person_id]) / max(titles, 1)
        if count[person_id] >= TITLES_OF_A_PERSON and share > usual:
            found.append((share * math.log(share / usual), person_id))
    found.sort(key=lambda one: (-one[0], one[1]))
    return [Trait("person", names[person_id], person_id) for _, person_id in found]


def list_queries(
    media_type: MediaType,
    seeds: Sequence[LikedTitle],
    first_pages: Mapping[int, Sequence[int]],
    traits: Sequence[Trait],
    languages: Sequence[str],
    *,
    minimum_votes: int,
) -> list[ListQuery]:
    """Return the lists to read for a user, the most promising first, kinds in turns.

    Args:
        media_type: of the lists.
        seeds: see :func:`choose_seeds`; second pages are read of the strongest.
        first_pages: TMDb ids that are recommended from a title, by work.
        traits: of the user's taste, the most distinctive of each kind first; ids are TMDb's for this media type.
        languages: original languages that the user watches, the most usual first.
        minimum_votes: see :func:`least_votes`.
    """

    def query(*of: Trait, language: str | None, within_days: int | None = None, extra: str = "") -> ListQuery:
        ids = {kind: tuple(one.tmdb_id for one in of if one.kind == kind) for kind in ("genre", "keyword", "person")}
        filters = DiscoverFilters(
            genre_ids=ids["genre"],
            keyword_ids=ids["keyword"],
            person_ids=ids["person"],
            language=language,
            minimum_votes=least_votes(language, minimum_votes),
            within_days=within_days,
        )
        return ListQuery(media_type, " + ".join(one.seed for one in of) + extra, filters=filters)

    main, *others = languages or [ENGLISH]
    strongest = sorted(seeds, key=lambda one: (-one.weight, one.work_id))
    deep = [one for one in strongest if len(first_pages.get(one.work_id, ())) >= PAGE][:DEEP_SEEDS]
    kinds = {
        kind: [one for one in traits if one.kind == kind][:most]
        for kind, most in (("genre", GENRES), ("keyword", KEYWORDS), ("person", PEOPLE))
    }
    genres = kinds["genre"]
    by_genre = [query(one, language=main) for one in genres]
    by_genre[1:1] = [query(genres[0], genres[1], language=main)] if len(genres) > 1 else []
    recent = [query(one, language=main, within_days=RECENT_DAYS, extra=" (new)") for one in genres[:1]]
    elsewhere = [
        query(one, language=language, extra=f" ({language})")
        for language in others[: LANGUAGES - 1]
        for one in genres[:1]
    ]
    well_known = query(language=main)
    by_person = [query(one, language=None) for one in kinds["person"]] if media_type == "movie" else []
    return list(
        take_turns(
            [
                [ListQuery(media_type, str(one.work_id), tmdb_id=one.tmdb_id) for one in deep],
                by_genre,
                [query(one, language=main) for one in kinds["keyword"]],
                by_person,
                [*recent, *elsewhere],
                [replace(well_known, seed="well known", is_filler=True)],
            ]
        )
    )


def next_page(query: ListQuery, known: Mapping[str, KnownList], *, again: bool = False) -> int | None:
    """Return the next page of a list to read; None if there is none today, or no more.

    ``again``: read more than one page of it a day.
    """
    for page in query.pages(again=again):
        found = known.get(query.request(page))
        if found is None:
            return page
        if not found.has_more or (found.read_today and not again):
            return None
    return None


def scarce_types(wanted: Mapping[str, Sequence[Wanted]], *, enough: int = ENOUGH) -> set[MediaType]:
    """Return the media types of which fewer than ``enough`` titles are suggested, to all users together."""
    titles = Counter(media_type for media_type, _ in {one.key for own in wanted.values() for one in own})
    return {media_type for media_type in MEDIA_TYPES if titles[media_type] < enough}


def next_requests(
    plans: Sequence[UserPlan],
    known: Mapping[str, KnownList],
    *,
    media_types: Collection[MediaType] = MEDIA_TYPES,
    again: bool = False,
) -> Iterator[tuple[ListQuery, int]]:
    """Yield the pages to read of these media types, each once: first pages before later ones, users in turns.

    ``known`` may grow while this is consumed.
    """
    queries = [one for one in take_turns([plan.queries for plan in plans]) if one.media_type in media_types]
    turns = [(query, next_page(query, known, again=again)) for query in queries]
    waiting = [(query, page) for query, page in turns if page is not None]
    waiting.sort(key=lambda one: one[1])
    seen: set[str] = set()
    for query, page in waiting:
        request = query.request(page)
        if request not in seen:
            seen.add(request)
            yield query, page


def wanted_titles(
    plan: UserPlan,
    first_pages: Mapping[int, Sequence[int]],
    known: Mapping[str, KnownList],
    owned: Mapping[str, Collection[int]],
    *,
    minimum_votes: int,
    most: int = WANTED,
) -> list[Wanted]:
    """Return the titles that lists suggest to a user, best first, each media type up to ``most``.

    Titles that more lists agree on come first, those of stronger seeds and higher ranks before others; ties go to the
    title with more votes. Titles that the lists themselves show as unsuitable are left out, and those
    whose TMDb ids, by media type, are in ``owned``.
    """
    found: dict[tuple[str, int], Wanted] = {}

    def add(media_type: MediaType, source: Source, seed: str, weight: float, titles: Iterable[SuggestedTitle]) -> None:
        out = (owned.get(media_type, ()), plan.hidden.get(media_type, ()))
        placed: set[int] = set()
        for rank, title in enumerate(titles, start=1):
            if title.tmdb_id is None or title.tmdb_id in placed or any(title.tmdb_id in ids for ids in out):
                continue
            placed.add(title.tmdb_id)
            if not _may_be_suitable(title, plan.languages, minimum_votes):
                continue
            one = found.setdefault((media_type, title.tmdb_id), Wanted(media_type, title))
            if one.ids.votes is None and title.votes is not None:
                one.ids = title
            one.score += weight * BLUR / (BLUR + rank)
            one.suggestions.append(Suggestion(source, seed, rank))

    strongest = max((one.weight for one in plan.seeds), default=1.0)
    second_pages = {(query.media_type, query.tmdb_id): query for query in plan.queries if query.filters is None}
    for one in plan.seeds:
        media_type: MediaType = "movie" if one.media_type == "movie" else "series"
        titles = [SuggestedTitle(tmdb_id) for tmdb_id in first_pages.get(one.work_id, ())]
        second = second_pages.get((media_type, one.tmdb_id))
        if second is not None:
            titles += _entries(second, known)
        add(media_type, "recommendations", str(one.work_id), one.weight / strongest, titles)
    for query in plan.queries:
        if query.filters is not None:
            weight = WELL_KNOWN if query.is_filler else BY_TRAIT
            add(query.media_type, "discover", query.seed, weight, _entries(query, known))
    for media_type in MEDIA_TYPES:
        add(media_type, "trakt", "", 1.0, plan.trakt.get(media_type, ()))
    ordered = sorted(found.values(), key=lambda one: (-round(one.score, 9), -(one.ids.votes or 0), one.key))
    counts: Counter[str] = Counter()
    kept = []
    for one in ordered:
        counts[one.media_type] += 1
        if counts[one.media_type] <= most:
            kept.append(one)
    return kept


def _entries(query: ListQuery, known: Mapping[str, KnownList]) -> list[SuggestedTitle]:
    found: list[SuggestedTitle] = []
    for number in query.pages():
        page = known.get(query.request(number))
        # Pages age one by one, so that an early one may be missing.
        if page is None and number > DEPTH:
            break
        found += page.entries if page is not None else ()
    return found


def _may_be_suitable(title: SuggestedTitle, languages: frozenset[str], minimum_votes: int) -> bool:
    """Return whether what a list says about a title speaks against it; the details decide."""
    if title.is_adult or (title.language is not None and title.language not in languages):
        return False
    return title.votes is None or title.votes >= least_votes(title.language, minimum_votes)


@dataclass(slots=True)
class DetailsPlan:
    """Titles whose details are requested, in order, and titles of the pool that are still wanted."""

    request: list[Wanted] = field(default_factory=list)
    keep: list[Wanted] = field(default_factory=list)
    left_out: int = 0


def plan_details(
    wanted: Mapping[str, Sequence[Wanted]], known: Mapping[tuple[str, int], bool], *, budget: int
) -> DetailsPlan:
    """Decide whose details to request: users in turns, the best of each first, each title once.

    Args:
        wanted: by user, best first.
        known: titles of the pool, and whether their details are due.
        budget: how many may be requested. New titles beyond it stay out of the pool until another day.
    """
    plan = DetailsPlan()
    seen: set[tuple[str, int]] = set()
    for one in take_turns(list(wanted.values())):
        if one.key in seen:
            continue
        seen.add(one.key)
        is_new = one.key not in known
        if (is_new or known[one.key]) and len(plan.request) < budget:
            plan.request.append(one)
        elif is_new:
            plan.left_out += 1
        else:
            plan.keep.append(one)
    return plan


def take_turns(rows: Sequence[Sequence[One]]) -> Iterator[One]:
    """Yield the first of each row, then the second of each, and so on."""
    for place in range(max(map(len, rows), default=0)):
        for row in rows:
            if place < len(row):
                yield row[place]
