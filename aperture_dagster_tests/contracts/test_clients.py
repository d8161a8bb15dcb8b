"""Every operation of third-party clients is tried on the stand-ins, and does what ``docs/stand-ins.md`` says of it."""

from __future__ import annotations

import pytest

from aperture_dagster_tests.contracts.clients.calls import Client, Outcome, outcomes
from aperture_dagster_tests.contracts.clients.page import CLIENTS, PAGE, page, section


@pytest.fixture(scope="module")
def found() -> dict[str, list[Outcome]]:
    """Outcomes by package, filled by the first test."""
    return {}


@pytest.mark.requests_unmodelled
# One of the clients asks whether a text is in an enumeration.
@pytest.mark.filterwarnings("ignore:in 3.12 __contains__:DeprecationWarning:jellyfin_apiclient_python.*")
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.package)
def test_calls_of_a_client_work_or_fail_for_a_known_reason(client: Client, found: dict[str, list[Outcome]]) -> None:
    found[client.package] = outcomes(client)
    failed = {one.name: one.error for one in found[client.package] if one.error}
    assert failed.keys() == client.reasons.keys(), failed
    assert section(client, found[client.package]) in PAGE.read_text(encoding="utf-8")


def test_the_page_on_stand_ins_has_nothing_else(found: dict[str, list[Outcome]]) -> None:
    assert found.keys() == {client.package for client in CLIENTS}
    assert page(found) == PAGE.read_text(encoding="utf-8")
