"""What an operator sees of the prices of AI models."""

from __future__ import annotations

from typing import Any

import pytest

from aperture_dagster_tests.e2e.library import titles
from aperture_dagster_tests.household import Household, metadata_of

pytestmark = pytest.mark.e2e


def checks(result: Any) -> dict[str, str | None]:
    """Return the descriptions of the checks that did not pass."""
    return {one.check_name: one.description for one in result.get_asset_check_evaluations() if not one.passed}


def test_the_page_shows_what_embedding_this_library_costs(library):
    """In the process it costs nothing, and the stand-ins' endpoint runs at home."""
    with library(titles(1, 40)) as here:
        here.home.must("enrich_metadata", assets=["enriched_metadata"])
        result = here.home.must("refresh_ai_pricing")
        shown = metadata_of(result, "ai_pricing")
        assert shown["configured_price"] == "0: It runs in this process."
        assert shown["usd_library"] == 0.0 and "usd_per_month" not in shown
        assert (shown["texts"], "Not known yet" in shown["rate_of_change"]) == (40, True)
        assert checks(result) == {}

        at_home = Household(here.home.settings.model_copy(update={"embedder": "openai"}), here.home.instance)
        result = at_home.must("refresh_ai_pricing")
        shown = metadata_of(result, "ai_pricing")
        assert shown["configured_price"] == "0: It runs at home (127.0.0.1)."
        assert shown["offered"] == 5
        assert shown["rows_written"] == 0 and checks(result) == {}
