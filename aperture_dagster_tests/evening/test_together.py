"""One list for all who are here."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pytest

from aperture_dagster.evening.together import LEAST_JUDGED, Person, for_all, normalised, ranked_together

WORKS = range(1, 101)


def person(name: str, best: Collection[int] = (), worst: Collection[int] = (), **facts: Collection[int]) -> Person:
    """Return somebody who can get all titles that they have not seen, and likes some best and others least."""
    seen = facts.get("seen", ())
    scores = {work: (work in best) * 3.0 - (work in worst) * 3.0 - work / 1000 for work in WORKS if work not in seen}
    return Person(name, scores, **facts)


def works(people: Collection[Person], *, seen_by_some: bool = False) -> list[int]:
    return [pick.work_id for pick in ranked_together(list(people), seen_by_some=seen_by_some)]


def test_four_with_a_child_get_nothing_above_its_limit_nothing_hidden_and_nothing_that_one_may_not_see():
    ratings: Mapping[int, str | None] = {work: "R" if work % 3 == 0 else "PG" for work in WORKS} | {7: None}
    hidden, locked = {4, 5}, {8, 10}
    child = person("Kim", best=(6, 12))
    people = [person("Anna", best=(3, 4)), person("Ben", best=(5, 8), barred=hidden), person("Cora", best=(10,)), child]
    sights = [set(WORKS), set(WORKS), set(WORKS) - locked, set(WORKS)]
    found = [pick.work_id for pick in for_all(ranked_together(people), sights, [None, None, 18, 10], ratings)]
    assert len(found) > 20
    assert all(ratings[work] == "PG" for work in found), "what has no rating is within no limit either"
    assert not (hidden | locked) & set(found)
    # Without the child and the others, all of these are there.
    alone = [pick.work_id for pick in for_all(ranked_together(people[:1]), sights[:1], [None], ratings)]
    assert {3, 4, 5, 7, 8, 10} <= set(alone)


def test_a_guest_sets_a_limit_for_all():
    picks = ranked_together([person("Anna")])
    ratings = dict.fromkeys(WORKS, "FSK-16") | {2: "FSK-6"}
    assert [pick.work_id for pick in for_all(picks, [WORKS], [None, 6], ratings)] == [2]


def test_what_suits_both_comes_before_the_favourite_of_one():
    assert works([person("Anna", best=(1, 3)), person("Ben", best=(2, 3))])[0] == 3
    # However far one favourite is above all else, it outweighs nobody.
    anna = person("Anna", best=(1,))
    loud = Person("Anna", {**anna.scores, 1: 1e6})
    assert works([loud, person("Ben", best=(2,), worst=()), person("Cora", best=(2,))])[0] == 2


def test_what_anybody_dislikes_or_cannot_get_is_out_however_much_the_others_like_it():
    assert 9 not in works([person("Anna", best=(9,)), person("Ben", best=(9,)), person("Cora", worst=(9,))])
    short = Person("Ben", {work: float(work) for work in range(1, LEAST_JUDGED)})
    assert works([short]) == list(range(LEAST_JUDGED - 1, 0, -1)), "a short list says of nothing that it is disliked"
    assert set(works([person("Anna"), short])) <= set(short.scores)


def test_what_few_have_seen_is_there_if_asked_for():
    people = [person("Anna", best=(5,)), person("Ben", best=(5,)), person("Cora", seen={5, 6})]
    assert not {5, 6} & set(works(people))
    assert works(people, seen_by_some=True)[0] == 5
    # Half is not few, and what was rated low is out anyway.
    assert 5 not in works([*people, person("Dan", seen={5})], seen_by_some=True)
    assert 5 not in works([*people[:2], person("Cora", seen={5}, barred={5})], seen_by_some=True)


def test_who_has_no_taste_yet_stops_nobody_but_what_they_hid():
    new = Person("Kim", {}, barred={1})
    assert works([person("Anna", best=(1, 2)), new])[:1] == [2]
    assert list(ranked_together([new])) == []


def test_whom_a_title_suits_says_nothing_of_what_they_have_seen():
    (first, *_others) = ranked_together(
        [person("Anna", best=(5,)), person("Ben"), person("Cora", seen={5})], seen_by_some=True
    )
    assert first.work_id == 5 and first.suits["Anna"] == "very well"
    assert first.suits["Cora"] == "all right", "as for somebody who has not seen it"


@pytest.mark.parametrize("scores", [[], [2.0], [0.1, 0.1, 0.1]])
def test_equal_scores_are_average(scores: list[float]):
    assert normalised(np.array(scores)).tolist() == [0.0] * len(scores)
