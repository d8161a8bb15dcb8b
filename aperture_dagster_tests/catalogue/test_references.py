"""What a TITLE on the command line may mean."""

from __future__ import annotations

import pytest

from aperture_dagster.catalogue.identity import ProviderIds
from aperture_dagster.catalogue.references import (
    KnownTitle,
    TitleId,
    TitleName,
    match_titles,
    nearest_titles,
    parse_title_reference,
    simplify,
)
from aperture_dagster.model.errors import OperatorError


def known(work_id: int, title: str | None, year: int | None = None, **facts: object) -> KnownTitle:
    usual = {
        "media_type": "movie",
        "ids": ProviderIds(work_id),
        "in_library": True,
        "names": frozenset({title} - {None}),
        "years": frozenset({year} if year else ()),
    }
    return KnownTitle(work_id, title=title, year=year, **usual | facts)  # pyright: ignore[reportArgumentType]


def matches(text: str, *titles: KnownTitle) -> list[int]:
    return [one.work_id for one in match_titles(parse_title_reference(text), titles)]


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("tmdb:movie:603", TitleId(ProviderIds(tmdb_id=603), media_type="movie")),
        ("TMDB:Film:603", TitleId(ProviderIds(tmdb_id=603), media_type="movie")),
        ("tmdb:series:1396", TitleId(ProviderIds(tmdb_id=1396), media_type="series")),
        ("tmdb:tv:1396", TitleId(ProviderIds(tmdb_id=1396), media_type="series")),
        ("tmdb:603", TitleId(ProviderIds(tmdb_id=603))),
        ("imdb:tt0133093", TitleId(ProviderIds(imdb_id="tt0133093"))),
        (" TT0133093 ", TitleId(ProviderIds(imdb_id="tt0133093"))),
        ("imdb:series:tt0903747", TitleId(ProviderIds(imdb_id="tt0903747"), media_type="series")),
        ("tvdb:81189", TitleId(ProviderIds(tvdb_id=81189), media_type="series")),
        ("tmdb:movie:603  The Matrix (1999), in the library", TitleId(ProviderIds(603), media_type="movie")),
        ("work:17", TitleId(ProviderIds(), 17)),
        ("The Matrix", TitleName("The Matrix")),
        ("The Matrix (1999)", TitleName("The Matrix (1999)", "The Matrix", 1999)),
        ("2012 (2009)", TitleName("2012 (2009)", "2012", 2009)),
        ("1917", TitleName("1917")),
        ("Work: a film", TitleName("Work: a film")),
        ("(500) Days of Summer", TitleName("(500) Days of Summer")),
    ],
)
def test_a_title_is_named_by_its_title_with_or_without_the_year_or_by_an_id(text: str, meaning: object):
    assert parse_title_reference(text) == meaning


@pytest.mark.parametrize(
    "text", ["", "tmdb:movie:", "tmdb:movie:matrix", "tmdb:book:603", "imdb:603", "tmdb:movie:99999999999", "work:one"]
)
def test_what_begins_like_an_id_and_is_none_is_refused(text: str):
    with pytest.raises(OperatorError):
        parse_title_reference(text)


@pytest.mark.parametrize(
    ("typed", "title"),
    [
        ("amelie", "Amélie"), ("wall e", "WALL·E"), ("SPIDER MAN", "Spider-Man"), ("strasse", "Straße"),
        ("fast and furious", "Fast & Furious"), ("ostergaard", "Østergaard"), ("千と千尋の神隠し", "千と千尋の神隠し"),
        ("...", "..."),
    ],
)  # fmt: skip
def test_names_are_compared_without_case_accents_and_punctuation(typed: str, title: str):
    assert simplify(typed) == simplify(title) != ""


def test_a_title_matches_by_any_of_its_names_and_by_the_year_in_parentheses():
    spirited = known(1, "Spirited Away", 2001, names=frozenset({"Spirited Away", "千と千尋の神隠し"}))
    old, new = known(2, "Solaris", 1972), known(3, "Solaris", 2002)
    itself = known(4, "Robot (2012)", 2014)
    apart = known(5, "Robot", 2012)
    everything = (spirited, old, new, itself, apart, known(6, "300", 2006), known(7, "2012", 2009))
    assert matches("千と千尋の神隠し", *everything) == [1]
    assert matches("solaris", *everything) == [3, 2]
    assert matches("Solaris (1972)", *everything) == [2]
    assert matches("Solaris (1980)", *everything) == []
    assert matches("Robot (2012)", *everything) == [4, 5]
    assert matches("Robot (2012) (2014)", *everything) == [4]
    assert matches("300", *everything) == [6]
    assert matches("2012", *everything) == [7]


def test_an_id_matches_only_its_media_type_and_each_title_once():
    film = known(3, "Twins", ids=ProviderIds(603, "tt0000009"))
    again = known(1, "Twins", ids=ProviderIds(603), in_library=False)
    series = known(2, "Twins", media_type="series", ids=ProviderIds(603))
    assert matches("tmdb:movie:603", again, film, series) == [3]
    assert matches("tmdb:tv:603", again, film, series) == [2]
    assert sorted(matches("tmdb:603", again, film, series)) == [2, 3]
    assert matches("tt0000009", again, film, series) == [3]
    assert matches("work:1", again, film, series) == [1]


def test_titles_of_one_name_are_listed_from_what_the_library_has_to_what_is_hardly_known():
    name = frozenset({"Twins"})
    titles = [
        known(1, "Twins", 1990, in_library=False),
        known(2, None, 1995, names=name),
        known(3, "Twins", 1980, ids=ProviderIds(3, "tt0000003")),
        known(4, "Twins", 1988),
        known(6, "Twins", 1980, ids=ProviderIds(6)),
        known(5, "Twins", 1980, ids=ProviderIds(5)),
        known(7, "Twins", ids=ProviderIds(7)),
    ]
    assert matches("twins", *titles) == [4, 3, 5, 6, 7, 2, 1]


def test_every_known_title_can_be_named_by_its_own_reference():
    titles = [
        known(1, "A", ids=ProviderIds(603, "tt0000001")), known(2, "A", ids=ProviderIds(603), media_type="series"),
        known(3, "A", ids=ProviderIds(imdb_id="tt0133093")), known(4, "A", ids=ProviderIds(tvdb_id=5)),
        known(5, "A", ids=ProviderIds(), media_type="series"),
    ]  # fmt: skip
    for title in titles:
        assert matches(f"{title.reference}  {title.label}", *titles) == [title.work_id]


def test_the_nearest_names_come_first():
    titles = [known(1, "The Matrix"), known(2, "The Matrix Reloaded"), known(3, "Alien"), known(4, "Matilda")]
    assert [one.work_id for one in nearest_titles("the matrx", titles)][:1] == [1]
    assert {one.work_id for one in nearest_titles("Matrix (1999)", titles)} >= {1, 2}
    assert nearest_titles("Zzzzzz", titles) == []
