"""Values of the media server as we keep them."""

from __future__ import annotations

import pytest

from aperture_dagster.catalogue.access import Access
from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.references import match_users
from aperture_dagster.media_server.items import parse_id

PLAIN = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("given", [PLAIN, PLAIN.upper(), "01234567-89AB-cdef-0123-456789ABCDEF", f" {PLAIN} "])
def test_an_id_is_the_same_however_it_is_written(given: str):
    assert parse_id(given) == PLAIN


@pytest.mark.parametrize("given", ["4711", "Case-Matters", "0123456789abcdef-0123456789ABCDEF-012"])
def test_other_ids_are_kept_as_they_are(given: str):
    assert parse_id(given) == given


def test_a_user_is_found_by_an_id_copied_from_the_server():
    ann = User(PLAIN, "ann", "Ann", False, False, None, Access(), gone=False)
    assert match_users("01234567-89AB-CDEF-0123-456789ABCDEF", [ann]) == [ann]
