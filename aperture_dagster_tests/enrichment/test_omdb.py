"""Reading OMDb: parsing its texts, its many errors, and the key in the query."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aperture_dagster.enrichment.omdb.client import Omdb, parse_title
from aperture_dagster.http.errors import BadAnswer, NotFound, QuotaSpent, ServiceRefused, ServiceUnavailable
from aperture_dagster_tests.http.troubles import ANY_JSON, NO_JSON, PASSING, QUICK, Trouble, page, with_key
from aperture_dagster_tests.services import Answer, Scripted

KEY = "c0ffee42"
FILM: dict[str, Any] = {
    "Title": "Inception", "Year": "2010", "Rated": "PG-13", "Released": "16 Jul 2010", "Runtime": "148 min",
    "Awards": "Won 4 Oscars. 159 wins & 220 nominations total", "Metascore": "74", "imdbRating": "8.8",
    "imdbVotes": "2,300,000", "imdbID": "tt1375666", "Type": "movie", "BoxOffice": "$292,587,330", "Response": "True",
    "Ratings": [
        {"Source": "Internet Movie Database", "Value": "8.8/10"},
        {"Source": "Rotten Tomatoes", "Value": "87%"},
        {"Source": "Metacritic", "Value": "74/100"},
    ],
}  # fmt: skip
LEAST: dict[str, Any] = {"imdbID": "tt1375666", "Response": "True"}


def no(error: Any, status: int = 200) -> Answer:
    return Answer({"Response": "False", "Error": error}, status)


def connected(url: str, key: str = KEY, **how: Any) -> closing[Omdb]:
    return closing(Omdb(url, key, **QUICK | how))


class Purse:
    """A quota of a number of requests."""

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self) -> None:
        if self.left == 0:
            raise QuotaSpent("none left")
        self.left -= 1


def test_a_film_takes_one_request_and_its_texts_are_parsed(scripted: Scripted):
    scripted.say(Answer(FILM))
    with connected(scripted.url) as client:
        film = client.title("tt1375666")
        assert client.requests == 1
    assert film == dict(
        imdb_rating=8.8, imdb_votes=2_300_000,
        rotten_tomatoes=87, metacritic=74, awards="Won 4 Oscars. 159 wins & 220 nominations total", award_wins=159,
        award_nominations=220, oscars_won=4, rated="PG-13",
    )  # fmt: skip
    assert scripted.asked[0].target == f"/?apikey={KEY}&i=tt1375666&r=json"


@pytest.mark.parametrize("unknown", ["N/A", "", " n/a ", None, 0, 5.5, True, [], {}, [None], "\x00", "what?"])
def test_unusable_values_are_none_and_never_zero(unknown: Any):
    texts = {"Title", "Type", "Rated", "Awards"}
    spoiled = dict.fromkeys(FILM, unknown) | LEAST
    if isinstance(unknown, str) and unknown in ("\x00", "what?"):
        # A word is a word; but it is no number.
        spoiled |= dict.fromkeys(texts, "N/A")
    assert parse_title(spoiled, "tt1375666") == parse_title(LEAST, "tt1375666")
    bare = parse_title(LEAST, "tt1375666")
    assert not [value for value in bare.values() if value is not None]


def test_a_score_missing_in_one_field_is_taken_from_the_other():
    of_list = parse_title(LEAST | {"Ratings": FILM["Ratings"], "Metascore": "N/A", "imdbRating": "N/A"}, "tt1375666")
    assert (of_list["metacritic"], of_list["imdb_rating"]) == (74, 8.8)
    of_fields = parse_title(LEAST | {"Ratings": [], "Metascore": "74", "imdbRating": "8.8"}, "tt1375666")
    assert (of_fields["metacritic"], of_fields["imdb_rating"], of_fields["rotten_tomatoes"]) == (74, 8.8, None)


def test_a_bad_entry_among_the_ratings_costs_only_itself():
    ratings = [None, 5, {}, {"Source": 7, "Value": "9%"}, {"Source": "Rotten Tomatoes"}, *FILM["Ratings"]]
    spoiled = parse_title(FILM | {"Ratings": ratings, "Metascore": None}, "tt1375666")
    assert (spoiled["metacritic"], spoiled["rotten_tomatoes"]) == (74, None)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([], "expected dict, got list"),
        (None, "expected dict"),
        ({}, "Response: expected str, got NoneType"),
        ({"Response": True} | FILM | {"Response": True}, "Response: expected str, got bool"),
        (FILM | {"Response": "Maybe"}, "Response is 'Maybe'"),
        ({"Response": "True"}, "imdbID: expected str"),
        (FILM | {"imdbID": 1375666}, "imdbID: expected str, got int"),
        (FILM | {"imdbID": "tt0000001"}, "asked for tt1375666 and answered with 'tt0000001'"),
        (FILM | {"imdbID": "N/A"}, "answered with 'N/A'"),
    ],
)
def test_an_answer_about_another_title_is_rejected(scripted: Scripted, answer: Any, words: str):
    scripted.say(Answer(answer))
    with connected(scripted.url) as client, pytest.raises(BadAnswer, match=words):
        client.title("tt1375666")
    assert len(scripted.asked) == 1


@given(ANY_JSON, st.dictionaries(st.sampled_from(list(FILM)), ANY_JSON, max_size=2))
def test_arbitrary_answers_are_parsed_or_rejected(answer: Any, fields: dict[str, Any]):
    with pytest.raises(BadAnswer):
        parse_title(answer, "tt1375666")
    assert parse_title(FILM | fields | LEAST, "tt1375666").keys() == parse_title(FILM, "tt1375666").keys()


NO: dict[str, Trouble] = {
    "spent": Trouble(no("Request limit reached!", 401), QuotaSpent, "Request limit reached!.*next day", 1),
    "spent, in text": Trouble(
        Answer("Request limit reached!", 401, {"content-type": "text/plain"}), QuotaSpent, "next day", 1
    ),
    "spent, as if well": Trouble(no("Request limit reached!"), QuotaSpent, "next day", 1),
    "refused": Trouble(
        no("Invalid API key! KEY", 401), ServiceRefused, r"Invalid API key!.*Check OMDB_API_KEY.*mail", 1
    ),
    "refused, without a word": Trouble(Answer({}, 401), ServiceRefused, r"was refused\. Check OMDB_API_KEY", 1),
    "refused by a page": Trouble(page(401), ServiceRefused, r"was refused\. Check OMDB_API_KEY", 1),
    "forbidden": Trouble(Answer({"Error": "KEY is banned"}, 403), ServiceRefused, "is banned.*OMDB_API_KEY", 1),
    "refused, as if well": Trouble(no("Invalid API key!"), ServiceRefused, "OMDB_API_KEY", 1),
    "incorrect": Trouble(no("Incorrect IMDb ID."), NotFound, "Incorrect IMDb ID", 1),
    "obscure": Trouble(no("Error getting data."), NotFound, "Error getting data", 1),
    "unknown film": Trouble(no("Movie not found!"), NotFound, "Movie not found", 1),
    "stumbled": Trouble(no("Something went wrong."), ServiceUnavailable, "Something went wrong"),
    "not known": Trouble(no("The moon is full: KEY"), BadAnswer, "unknown error: The moon is full", 1),
    "without a reason": Trouble(no(None), BadAnswer, "no reason given", 1),
    "another server": Trouble(page(404), ServiceUnavailable, "404.*Check APERTURE_OMDB_URL"),
}


@pytest.mark.parametrize("trouble", [pytest.param(one, id=name) for name, one in (PASSING | NO_JSON | NO).items()])
def test_each_failure_is_reported_by_its_cause_and_without_the_key(scripted: Scripted, trouble: Trouble):
    scripted.say(with_key(trouble.answer, KEY))
    with connected(scripted.url, timeout_seconds=trouble.patience) as client:
        with pytest.raises(trouble.error, match=trouble.words) as told:
            client.title("tt1375666")
        assert client.requests == trouble.requests
    assert type(told.value) is trouble.error
    assert KEY not in str(told.value) + repr(told.value)


def test_every_attempt_counts_against_the_quota(scripted: Scripted):
    scripted.say(no("Something went wrong."), page(521), Answer(FILM))
    purse = Purse(10)
    with connected(scripted.url, quota=purse, attempts=3) as client:
        assert client.title("tt1375666")["metacritic"] == 74
    assert purse.left == 7


def test_with_no_request_left_nothing_is_sent(scripted: Scripted):
    with connected(scripted.url, quota=Purse(0)) as client, pytest.raises(QuotaSpent, match="none left"):
        client.title("tt1375666")
    assert scripted.asked == []


@pytest.mark.parametrize("nonsense", ["", "1375666", "nm0000138", "tt", "tt1375666 ", "tt1&s=x", "tt\u0663", "../tt1"])
def test_an_invalid_id_is_not_found_without_a_request(scripted: Scripted, nonsense: str):
    with connected(scripted.url) as client, pytest.raises(NotFound, match="was not asked"):
        client.title(nonsense)
    assert scripted.asked == []


@pytest.mark.parametrize("answer", [Answer(FILM | {"imdbID": "tt0000001"}), no("Error getting data.")])
def test_the_check_passes_whether_or_not_the_title_is_found(scripted: Scripted, answer: Answer):
    scripted.say(answer)
    purse = Purse(1)
    with connected(scripted.url, quota=purse) as client:
        client.check()
    assert (purse.left, len(scripted.asked)) == (0, 1)
