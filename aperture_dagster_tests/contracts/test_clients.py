"""Every operation of third-party clients is tried on the stand-ins, and does what ``docs/stand-ins.md`` says of it."""

from __future__ import annotations

import pytest

from aperture_dagster_tests.contracts.clients.calls import Outcome, outcomes

# By name: importing the packages takes seconds, which only the worker that runs this file has to spend.
PACKAGES = (
    "jellyfin-apiclient-python", "aiojellyfin", "embyclient", "tmdbsimple", "themoviedb", "omdb", "openai", "pytrakt",
    "python_overseerr",
)  # fmt: skip


@pytest.fixture(scope="module")
def found() -> dict[str, list[Outcome]]:
    """Outcomes by package, filled by the first test."""
    return {}


@pytest.mark.requests_unmodelled
# One of the clients asks whether a text is in an enumeration.
@pytest.mark.filterwarnings("ignore:in 3.12 __contains__:DeprecationWarning:jellyfin_apiclient_python.*")
@pytest.mark.parametrize("package", PACKAGES)
def test_calls_of_a_client_work_or_fail_for_a_known_reason(package: str, found: dict[str, list[Outcome]]) -> None:
    from aperture_dagster_tests.contracts.clients.page import CLIENTS, PAGE, section

    (client,) = (one for one in CLIENTS if one.package == package)
    found[client.package] = outcomes(client)
    failed = {one.name: one.error for one in found[client.package] if one.error}
    assert failed.keys() == client.reasons.keys(), failed
    assert section(client, found[client.package]) in PAGE.read_text(encoding="utf-8")


def test_the_page_on_stand_ins_has_nothing_else(found: dict[str, list[Outcome]]) -> None:
    from aperture_dagster_tests.contracts.clients.page import CLIENTS, PAGE, page

    assert found.keys() == {client.package for client in CLIENTS}
    assert page(found) == PAGE.read_text(encoding="utf-8")
