"""Published titles play on the server at hand, and share what was watched only where that works."""

from __future__ import annotations

import pytest

from aperture_dagster.publishing.names import Form, Product, choose_form, form_warning, merges_versions, shares_history


def test_links_are_used_on_jellyfin_and_strm_files_on_emby_unless_the_operator_decides():
    assert choose_form("auto", "jellyfin") == choose_form("rows", "jellyfin") == "symlink"
    assert choose_form("auto", "emby") == "strm"
    assert choose_form("symlink", "emby") == "symlink" and choose_form("strm", "jellyfin") == "strm"


@pytest.mark.parametrize(
    ("form", "product", "version", "warning"),
    [
        ("strm", "jellyfin", (10, 11, 7), "titles do not play: from version 10.11.7 on"),
        ("strm", "jellyfin", (10, 11, 6), "titles will not play after an update"),
        ("strm", "emby", (4, 9, 0), None),
        ("symlink", "jellyfin", (12, 0), None),
    ],
)
def test_strm_files_on_jellyfin_are_warned_of(
    form: Form, product: Product, version: tuple[int, ...], warning: str | None
):
    found = form_warning(form, product, version)
    assert (found is None) if warning is None else (found is not None and warning in found)


def test_provider_ids_are_written_where_servers_share_history_by_them():
    assert shares_history("jellyfin", (10, 10, 7)) and shares_history("emby", (4, 9))
    assert not shares_history("jellyfin", (10, 11, 0)) and not shares_history("jellyfin", (12, 0))


def test_a_plugin_that_would_merge_copies_by_their_ids_is_recognised():
    assert merges_versions(["Trakt", "Merge Versions"]) and not merges_versions(["Trakt"])
