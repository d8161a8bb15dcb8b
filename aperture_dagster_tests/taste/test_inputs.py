"""The hashes of what tastes and lists are made from are made of all that is read for them."""

from __future__ import annotations

from aperture_dagster.taste.changes import HISTORY_COLUMNS, LIST_COLUMNS, TRAIT_COLUMNS, WEIGHT_COLUMNS
from aperture_dagster.taste.histories import read_histories
from aperture_dagster.taste.lists import read_items, read_weights
from aperture_dagster_tests.shelf import Shelf

# Lists do not depend on names, nor on the number of episodes in the table of titles (a history has its own).
NOT_IN_LISTS = {"title", "episodes_total"}


def test_every_column_that_is_read_for_tastes_and_lists_is_part_of_a_hash(shelf: Shelf):
    with shelf.open() as connection:
        assert {*read_items(connection).columns} == {*LIST_COLUMNS} | NOT_IN_LISTS
        assert {*TRAIT_COLUMNS} == {"work_id", "media_type", "genres", "keywords"}, "those of Traits"
        assert {*read_histories(connection).columns} == {"user_id", *HISTORY_COLUMNS}
        assert {*read_weights(connection).columns} == {"user_id", *WEIGHT_COLUMNS}
