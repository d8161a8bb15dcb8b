"""NFO files are read back as the facts they were made from, and hold nothing that does harm on a server."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aperture_dagster.publishing.disk.nfo import (
    EpisodeFacts,
    TitleFacts,
    episode_nfo,
    film_nfo,
    read_marker,
    series_nfo,
)

ADDED = datetime(2024, 5, 6, 1, 30, 15, 999, tzinfo=timezone(timedelta(hours=2)))
FILM = TitleFacts(
    title="Tom & Jerry <3",
    original_title='Das "Original"',
    sort_title="0001 Tom & Jerry",
    overview="Line one.\nLine two.",
    tagline="]]>",
    year=1999,
    official_rating="PG-13",
    premiere_date=date(1999, 3, 31),
    date_added=ADDED,
    community_rating=7.85,
    critic_rating=88.0,
    genres=("Action", "Sci-Fi"),
    studios=("A & B",),
    countries=("Germany",),
    tags=("mine",),
    cast=tuple((f"Actor {number}", f"Role {number}" if number else None) for number in range(20)),
    directors=("Robert Downey, Jr.", "Lana Wachowski"),
    writers=("Someone, Jr.",),
    provider_ids={"Tmdb": "603", "Imdb": "tt0133093", "Tvdb": "0", "Custom": "x", "Zap2It": ""},
    marker="ap-hkqzmbwrnf",
)
EPISODE = EpisodeFacts(season=0, number=3, number_end=None, title="Pilot", air_date=date(2004, 9, 22))
# Tags that download pictures, change someone's history, or make collections.
HARMFUL = {"thumb", "fanart", "watched", "playcount", "lastplayed", "set", "lockdata", "lockedfields", "runtime"}


def parsed(content: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(content)


def texts(content: bytes, tag: str) -> list[str | None]:
    return [found.text for found in parsed(content).findall(tag)]


def unique_ids(content: bytes) -> dict[str | None, str | None]:
    return {found.get("type"): found.text for found in parsed(content).findall("uniqueid")}


def test_a_film_is_read_back_as_its_facts():
    content = film_nfo(FILM)
    root = parsed(content)
    single = {
        "title": "Tom & Jerry <3", "originaltitle": 'Das "Original"', "sorttitle": "0001 Tom & Jerry",
        "plot": "Line one.\nLine two.", "tagline": "]]>", "year": "1999", "mpaa": "PG-13", "premiered": "1999-03-31",
        "dateadded": "2024-05-05 23:30:15", "rating": "7.85", "criticrating": "88", "studio": "A & B",
        "country": "Germany", "tag": "mine", "tmdbid": "603", "imdbid": "tt0133093",
    }  # fmt: skip
    assert root.tag == "movie"
    assert {tag: texts(content, tag) for tag in single} == {tag: [text] for tag, text in single.items()}
    assert texts(content, "genre") == ["Action", "Sci-Fi"]
    # A pipe at the end keeps the server from splitting the name at its comma.
    assert texts(content, "director") == ["Robert Downey, Jr.|", "Lana Wachowski"]
    assert texts(content, "credits") == ["Someone, Jr."]
    actors = root.findall("actor")
    assert [(one.findtext("name"), one.findtext("role"), one.findtext("order")) for one in actors] == [
        (f"Actor {number}", f"Role {number}" if number else None, str(number)) for number in range(15)
    ]
    assert film_nfo(replace(FILM, provider_ids=dict(reversed(FILM.provider_ids.items())))) == content


def test_only_real_ids_of_providers_are_written():
    # An id of 0 would join unrelated titles.
    assert unique_ids(film_nfo(FILM)) == {"tmdb": "603", "imdb": "tt0133093", "aperture": "ap-hkqzmbwrnf"}
    assert unique_ids(film_nfo(replace(FILM, provider_ids={}))) == {"aperture": "ap-hkqzmbwrnf"}
    assert texts(film_nfo(replace(FILM, provider_ids={"Imdb": "tt0000000"})), "imdbid") == []


def test_a_series_has_an_id_that_keeps_it_apart_unless_history_is_shared_by_ids():
    apart = series_nfo(replace(FILM, provider_ids={"Tvdb": "0"}, status="Ended"))
    assert parsed(apart).tag == "tvshow" and texts(apart, "status") == ["Ended"]
    assert unique_ids(apart) == {"aperture": "ap-hkqzmbwrnf", "custom": "ap-hkqzmbwrnf"}
    for ids in ({"Tvdb": "5"}, {"Imdb": "", "Tvdb": "5"}):
        assert unique_ids(series_nfo(replace(FILM, provider_ids=ids))) == {"tvdb": "5", "aperture": FILM.marker}


@pytest.mark.parametrize("make", [film_nfo, series_nfo])
def test_a_title_has_the_rating_of_its_original_or_none(make):
    assert texts(make(replace(FILM, official_rating=None)), "mpaa") == []
    assert texts(make(replace(FILM, official_rating=" ")), "mpaa") == []


def test_an_episode_is_read_back_as_its_facts():
    content = episode_nfo(replace(EPISODE, number_end=4), FILM, added=ADDED)
    expected = {
        "title": "Pilot", "season": "0", "episode": "3", "episodenumberend": "4",
        "aired": "2004-09-22", "dateadded": "2024-05-05 23:30:15", "uniqueid": FILM.marker,
    }  # fmt: skip
    assert {found.tag: found.text for found in parsed(content)} == expected
    assert texts(episode_nfo(replace(EPISODE, number_end=3), FILM, added=ADDED), "episodenumberend") == []


def test_files_for_emby_are_locked_and_have_no_premiere_and_others_hold_nothing_harmful():
    made = [
        film_nfo(FILM), series_nfo(FILM), episode_nfo(EPISODE, FILM, added=ADDED),
    ]  # fmt: skip
    for content in made:
        assert not HARMFUL & {found.tag for found in parsed(content).iter()}
        assert texts(content, "lockdata") != ["true"]
        assert {"premiered", "aired"} & {found.tag for found in parsed(content)}
    emby = {"lock": True, "premiered": False}
    for content in (film_nfo(FILM, **emby), series_nfo(FILM, **emby), episode_nfo(EPISODE, FILM, added=ADDED, **emby)):
        assert texts(content, "lockdata") == ["true"]
        assert not {"premiered", "aired", "releasedate"} & {found.tag for found in parsed(content)}


def test_values_that_a_server_would_misread_are_left_out():
    odd = replace(FILM, year=0, community_rating=float("nan"), critic_rating=1e-9, genres=("", " "), cast=((" ", "x"),))
    content = film_nfo(odd)
    assert [texts(content, tag) for tag in ("year", "rating", "genre", "actor")] == [[], [], [], []]
    assert texts(content, "criticrating") == ["0"]
    with pytest.raises(ValueError, match="time zone"):
        film_nfo(replace(FILM, date_added=datetime(2024, 1, 1)))  # noqa: DTZ001


def in_xml(text: str) -> str:
    """Return what is left of a text in XML 1.0, without blanks at both ends."""
    allowed = "".join(
        char
        for char in text.strip().replace("\r\n", "\n").replace("\r", "\n")
        if char in "\t\n" or (unicodedata.category(char) not in ("Cs",) and char >= " " and char not in "\ufffe\uffff")
    )
    return allowed


@given(st.text(st.characters(exclude_categories=[])), st.text(st.sampled_from("&<>\"'\r\n\0\ud800]- x")))
def test_any_text_survives(one: str, two: str):
    content = film_nfo(replace(FILM, title=one, overview=two, cast=((f"x{two}", one),)))
    assert parsed(content).findtext("title", "").strip() == in_xml(one).strip()
    assert parsed(content).findtext("plot", "").strip() == in_xml(two).strip()
    assert parsed(content).findtext("actor/name", "").strip() == in_xml(f"x{two}").strip()
    assert read_marker(content) == FILM.marker


def test_the_marker_is_found_in_a_damaged_or_edited_file():
    content = film_nfo(replace(FILM, overview='<uniqueid type="aperture">fake</uniqueid>'))
    assert read_marker(content) == FILM.marker
    assert read_marker(content[: content.index(b"</uniqueid>", content.index(b'"aperture"'))]) == FILM.marker
    assert read_marker(b"\xff junk & <b> " + content) == FILM.marker
    assert read_marker(b"<uniqueid default='false' type = 'aperture'>\n a&amp;b \n</uniqueid>") == "a&b"
    assert read_marker(content.decode().encode("utf-16")) == FILM.marker
    assert read_marker(b'<!-- <uniqueid type="aperture">ap-x</uniqueid> -->') is None
    assert read_marker(b'<movie><uniqueid type="tmdb">603</uniqueid><uniqueid type="aperture"></uniqueid>') is None
    assert read_marker(b"") is None
