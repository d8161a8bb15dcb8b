"""What is found in a small library, by names and in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from aperture_dagster.search.index import Index, build_index
from aperture_dagster.search.matches import find_matches
from aperture_dagster.search.question import Question
from aperture_dagster.search.titles import EpisodeRow, TitleRow
from aperture_dagster.search.words import clean_question, words_of


def title(work: int, name: str, plot: str = "", genres: Sequence[str] = (), **other: Any) -> TitleRow:
    values: dict[str, Any] = {
        "work_id": work, "media_type": "movie", "title": name, "year": 2000, "names": [], "cast": [], "makers": [],
        "genres": genres, "keywords": [], "tagline": None, "overview": plot, "countries": [], "language": "en",
        "minutes": 100, "rated": "R", "vote_average": 7.0, "vote_count": 1000, "is_owned": True,
    }  # fmt: skip
    return TitleRow(**{**values, **other})


LIBRARY = (
    title(1, "Das Boot", "The crew of a German submarine hunts ships in the Atlantic.", ["War", "Drama"], year=1981,
          language="de", minutes=149),
    title(2, "Ratatouille", "A rat dreams of becoming a chef in Paris, and cooks in a kitchen.",
          ["Animation", "Comedy", "Family"], year=2007, rated="G", minutes=111),
    title(3, "Alien", "The crew of a spaceship is killed by a creature in space.", ["Horror", "Science Fiction"],
          year=1979, makers=["Ridley Scott"], cast=["Sigourney Weaver"]),
    title(4, "Galaxy Quest", "Actors of a series about a spaceship meet aliens in space who need their help.",
          ["Comedy", "Science Fiction"], year=1999, cast=["Sigourney Weaver", "Tim Allen"], rated="PG"),
    title(5, "Delicatessen", "A butcher feeds tenants with meat of odd origin.", ["Comedy"], year=1991, language="fr",
          names=["Delicatessen"], makers=["Jean-Pierre Jeunet"]),
    title(6, "The Fabulous Destiny", "A waitress in Paris helps people around her to find love.", ["Comedy", "Romance"],
          names=["Le Fabuleux Destin d'Amélie Poulain"], language="fr", makers=["Jean-Pierre Jeunet"], year=2001),
    title(7, "The Shining", "A writer goes mad in an empty hotel in the snow.", ["Horror"], year=1980,
          makers=["Stanley Kubrick"], minutes=146),
    title(8, "Paths of Glory", "Soldiers refuse to attack, and are tried for cowardice.", ["War", "Drama"], year=1957,
          makers=["Stanley Kubrick"], minutes=88),
    title(9, "Barry Lyndon", "A rogue rises among the nobility.", ["Drama"], year=1975, makers=["Stanley Kubrick"]),
    title(10, "Dark", "A child disappears in a small town with a secret of time travel.", ["Science Fiction"],
          media_type="series", language="de", year=2017),
    title(11, "Spider-Man", "A student is bitten by a spider, and becomes a superhero.", ["Action"], year=2002),
    title(12, "Rocky II", "A boxer fights for the championship once more.", ["Drama"], year=1979),
)  # fmt: skip


@pytest.fixture(scope="module")
def index() -> Index:
    return build_index(LIBRARY, [EpisodeRow(500, 10, "Geheimnisse"), EpisodeRow(501, 10, "Episode 2")])


def found(index: Index, text: str, **how: Any) -> list[str]:
    return [LIBRARY[match.row].title for match in find_matches(index, text, **how)]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("alein", "Alien"), ("AMELIE", "The Fabulous Destiny"), ("spiderman", "Spider-Man"),
        ("spider man", "Spider-Man"),
        ("rocky 2", "Rocky II"), ("ratatoulie", "Ratatouille"), ("das  boot!", "Das Boot"), ("gala", "Galaxy Quest"),
        ("ridley scot", "Alien"), ("geheimnise", "Dark"),
    ],
)  # fmt: skip
def test_names_are_found_as_people_type_them(index: Index, text: str, first: str):
    assert found(index, text)[0] == first


def test_a_person_leads_to_all_of_their_titles_and_says_so(index: Index):
    matches = find_matches(index, "sigourney weaver")
    assert {LIBRARY[match.row].title for match in matches[:2]} == {"Alien", "Galaxy Quest"}
    assert {match.person for match in matches[:2]} == {"Sigourney Weaver"}
    assert find_matches(index, "geheimnisse")[0].episode == 500 and "Dark" not in found(index, "episode 2")


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("a submarine crew", "Das Boot"), ("Film über ein U-Boot", "Das Boot"), ("cooking rat", "Ratatouille"),
        ("space horror", "Alien"), ("funny film in space", "Galaxy Quest"),
        ("french film about love", "The Fabulous Destiny"),
        ("kubrick war film", "Paths of Glory"), ("kubrick film from the 80s", "The Shining"),
        ("war film under 90 minutes", "Paths of Glory"),
        ("series about time travel", "Dark"), ("something for kids about food", "Ratatouille"),
        ("like Alien but funnier", "Galaxy Quest"),
        ("Horrorfilm in einem Hotel", "The Shining"), ("französische Komödie vor 2000", "Delicatessen"),
    ],
)  # fmt: skip
def test_plain_words_find_what_they_describe(index: Index, text: str, first: str):
    assert found(index, text)[0] == first


def test_filters_leave_out_what_does_not_pass_if_enough_is_left():
    many = [title(number, f"Film {number}x", "A ship.", ["Comedy"], year=1990 + number) for number in range(12)]
    index = build_index(many)
    years = {many[match.row].year for match in find_matches(index, "comedy about a ship from the 90s")}
    assert years == set(range(1990, 2000))
    few = [many[match.row].year for match in find_matches(index, "comedy about a ship before 1993")]
    assert set(few[:3]) == {1990, 1991, 1992} and len(few) > 3


def test_taste_decides_among_what_fits_as_well():
    same = [title(number, f"Name {number}x", f"A ship. {word}") for number, word in enumerate(["Robots.", "Gardens."])]
    liked = [title(10, "Liked R", "Robots and machines."), title(11, "Liked G", "Gardens and flowers.")]
    others = [other._replace(work_id=100 + other.work_id) for other in LIBRARY]
    index = build_index([*same, *liked, *others])
    for work, first in ((10, 0), (11, 1)):
        assert find_matches(index, "a ship", {work: 1.0})[0].row == first


@pytest.mark.parametrize(
    "text", ["", "the of and", "🎬🍿", "qwertzuiop", "%_'\";--", "\\", "a" * 200, "-1", "under minutes"]
)
def test_what_means_nothing_finds_nothing(index: Index, text: str):
    assert found(index, text) == []


def test_an_empty_library_has_an_index():
    assert find_matches(build_index([]), "comedy from the 80s with tom hanks like alien") == []


def understood(index: Index, text: str) -> Question:
    return index.understand(text)


def test_words_of_kind_are_taken_out_of_the_question(index: Index):
    question = understood(index, "short german comedies from 1975 to 1985 by Stanley Kubrick without zombies")
    assert question.required == {"comedy"} and question.years == (1975, 1985) and question.minutes == (None, 95)
    assert question.nations == ["german"] and question.is_from and question.people[0][0] == "Stanley Kubrick"
    assert question.words == {"zombies": pytest.approx(-0.7)}
    assert understood(index, "80er Jahre Film, weniger als zwei Stunden").years == (1980, 1989)
    assert understood(index, "weniger als zwei Stunden").minutes == (None, 120)
    assert understood(index, "film about the cold war").genres == {}
    assert not understood(index, "the french revolution").is_from


def test_questions_become_one_printable_line():
    assert clean_question(" a\0b\n\u202ec ") == "a b c" and len(clean_question("x" * 500)) == 200
    assert words_of("E.T., Schindler’s Łódź & Straße IV") == ["et", "schindlers", "lodz", "and", "strasse", "4"]


GENRES_OF_TEN = tuple(
    title(200 + number, f"Mob {number}x", "Gangsters of a family fight for power.", ["Crime", *kind])
    for number, kind in enumerate([["Drama"]] * 12 + [["Comedy"]] * 11)
)


def test_a_title_in_another_mood_is_like_it_and_has_that_mood():
    funny = [
        title(300 + number, f"Fun {number}x", "A wedding in a garden.", ["Comedy", "Romance"]) for number in range(12)
    ]
    library = [*LIBRARY, *GENRES_OF_TEN, *funny, title(400, "The Boss", "Gangsters fight.", ["Crime", "Drama"])]
    index = build_index(library)
    for text in ("like The Boss but funny", "like the boss, but funnier", "wie The Boss, aber lustig"):
        genres = [library[match.row].genres for match in find_matches(index, text)]
        assert len(genres) >= 10 and all("Crime" in own and "Comedy" in own for own in genres), text
    assert "Drama" in library[find_matches(index, "like The Boss")[0].row].genres


def test_a_mood_that_few_titles_have_leaves_nobody_with_an_empty_page():
    library = [*LIBRARY, *GENRES_OF_TEN[:12], title(400, "The Boss", "Gangsters fight.", ["Crime", "Drama"])]
    index = build_index(library)
    for text in ("like The Boss but funny", "like The Boss but scary", "like The Boss but romantic"):
        matches = [library[match.row].title for match in find_matches(index, text)]
        assert len(matches) >= 10 and "The Boss" not in matches, text


def test_a_title_whose_name_has_a_but_is_still_named(index: Index):
    library = [*LIBRARY, title(400, "Nothing But the Night", "A cult on an island."), title(401, "Nothing", "A void.")]
    question = build_index(library).understand("like Nothing But the Night")
    assert question.like == len(library) - 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Film über Krebs", {"cancer"}), ("ein Raumschiffabsturz", {"spaceship", "plane", "crash"}),
        ("Filme über Bankräuber", {"bank", "robbery"}), ("der Koch", {"chef", "cooking"}),
        ("Geschichten von zwei Brüdern", {"brother"}), ("mit einem Gewitter", {"gewitter"}),
        ("Film mit einem Mörder, der wieder mordet", {"murderer", "killer", "mordet"}),
    ],
)  # fmt: skip
def test_german_words_their_forms_and_compounds_are_translated(index: Index, text: str, words: set[str]):
    assert words <= understood(index, text).words.keys()


def test_english_questions_are_not_taken_for_german(index: Index):
    for text, words in (
        ("a gift for an agent", {"gift", "agent"}), ("arm wrestling", {"arm", "wrestling"}),
        ("the held strand", {"held", "strand"}), ("mafia party", {"mafia", "party"}),
    ):  # fmt: skip
        assert understood(index, text).words.keys() == words, text


def test_kinds_within_german_compounds_and_forms_of_adjectives_are_kinds(index: Index):
    question = understood(index, "ein trauriger französischer Mafiafilm und ein ruhiges Liebesdrama")
    assert {"french"} == set(question.nations) and "drama" in question.required and "mafia" in question.words
    assert question.genres["action"] < 0, "slow"


def test_plots_in_german_are_found_by_their_own_words():
    library = [*LIBRARY, title(400, "Herbst", "Ein Arzt erkrankt an Krebs.", ["Drama"], language="de")]
    index = build_index(library)
    assert library[find_matches(index, "Film über Krebs")[0].row].title == "Herbst"
