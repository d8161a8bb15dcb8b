"""Guards against removing titles or history after an incomplete answer."""

from __future__ import annotations

import pytest

from aperture_dagster.catalogue.rules import LibraryLoss, RemovalRefused, check_history_loss, check_removals


def losses(**missing_of: tuple[int, int]) -> dict[str, LibraryLoss]:
    return {name: LibraryLoss(name, missing, present) for name, (missing, present) in missing_of.items()}


def test_up_to_a_fifth_of_a_library_may_be_removed_at_once():
    check_removals(losses(Films=(20, 100), Shows=(0, 10)), accepted=False, what="films")
    check_removals({}, accepted=False, what="films")
    check_removals(losses(Empty=(0, 0)), accepted=False, what="films")


def test_more_than_a_fifth_is_refused_with_the_numbers_and_how_to_accept_it():
    with pytest.raises(RemovalRefused) as refused:
        check_removals(losses(Films=(21, 100), Shows=(1, 10)), accepted=False, what="films")
    message = str(refused.value)
    assert "21 of 100 films of 'Films' (21%)" in message
    assert "Shows" not in message
    assert "accept_removals: true" in message


def test_a_few_titles_may_be_removed_whatever_their_share():
    """One of four films must not fail the step every night."""
    check_removals(losses(Films=(1, 4), Shows=(20, 21), Last=(1, 1)), accepted=False, what="films")
    with pytest.raises(RemovalRefused):
        check_removals(losses(Films=(21, 40)), accepted=False, what="films")


def test_each_library_is_checked_separately():
    # One per cent of all titles, but all of a small library: its disk is not mounted.
    with pytest.raises(RemovalRefused, match="'Small'"):
        check_removals(losses(Large=(0, 1000), Small=(10, 10)), accepted=False, what="films")


def test_a_loss_that_the_operator_accepted_is_allowed():
    check_removals(losses(Films=(100, 100)), accepted=True, what="films")
    check_history_loss("ann", listed=0, lost=500, known=500, accepted=True)


@pytest.mark.parametrize(
    ("listed", "lost", "known"), [(500, 0, 500), (501, -1, 500), (400, 100, 500), (3, 5, 8), (0, 0, 0), (900, 5, 5)]
)
def test_a_history_may_lose_a_few_marks_or_a_fifth(listed: int, lost: int, known: int):
    check_history_loss("ann", listed=listed, lost=lost, known=known, accepted=False)


@pytest.mark.parametrize(
    ("listed", "lost", "known"), [(0, 500, 500), (0, 1, 1), (399, 101, 500), (2, 6, 8), (900, 6, 8)]
)
def test_a_history_that_is_suddenly_gone_is_refused(listed: int, lost: int, known: int):
    with pytest.raises(RemovalRefused, match=rf"{listed} items that ann .* {lost} of the {known} .*accept_removals"):
        check_history_loss("ann", listed=listed, lost=lost, known=known, accepted=False)
