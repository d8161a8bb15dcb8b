"""The price list and the endpoint's models over HTTP, and what the database keeps of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import dagster as dg
import pytest

from aperture_dagster.defs.maintenance.pricing import has_undisputed_prices
from aperture_dagster.library.prices import Price
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.simulator.faults import FaultRule
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.world import World
from aperture_dagster.sources import prices as source
from aperture_dagster.sources.prices import (
    ConfiguredModel,
    OfferedRead,
    PricesRead,
    configured_model,
    estimate_usage,
    refresh_offered,
    refresh_prices,
)
from aperture_dagster.storage.prices import add_prices, current_prices, read_disputes, read_offered
from aperture_dagster_tests.household import SetClock
from aperture_dagster_tests.storage.conftest import Shelf, film

NOW = datetime(2026, 12, 1, 8, tzinfo=UTC)
SMALL, LIGHT = ("openai", "text-embedding-3-small"), ("cohere", "embed-multilingual-light-v3.0")


class Home:
    """An installation that reads prices."""

    def __init__(self, state: SimulatorState, settings: Settings) -> None:
        self.state, self.settings = state, settings
        self.database, self.clock = Database(settings), SetClock(NOW)

    def refresh(self, settings: Settings | None = None, **how: Any) -> PricesRead:
        """Read the prices as a week later."""
        self.clock.moment += timedelta(days=7)
        return refresh_prices(settings or self.settings, self.database, self.clock, **how)

    def price(self, provider: str = SMALL[0], model: str = SMALL[1]) -> Decimal | None:
        with self.database.transaction() as connection:
            stored = current_prices(connection, now=self.clock.now()).get((provider, model))
        return stored.price.input if stored is not None else None

    def history(self, provider: str, model: str) -> list[tuple[Decimal, str]]:
        statement = "SELECT input_price, source FROM ai_prices WHERE provider = :provider AND model = :model"
        rows = Shelf(self.database).rows(f"{statement} ORDER BY valid_from", provider=provider, model=model)
        return [(row["input_price"], row["source"]) for row in rows]

    def disputes(self) -> dict[str, str]:
        with self.database.transaction() as connection:
            return {row["model"]: row["reason"] for row in read_disputes(connection)}

    def offered(self) -> OfferedRead:
        return refresh_offered(self.settings, self.database)

    def configured(self, **settings: Any) -> ConfiguredModel:
        given = self.settings.model_copy(update={"embedder": "openai", **settings})
        with self.database.transaction() as connection:
            return configured_model(
                given, current_prices(connection, now=self.clock.now()), read_offered(connection, given.embedder_url)
            )

    def dispute_check(self, **settings: Any) -> str:
        """Return what the check of disputed prices says; empty if it passes."""
        given = self.settings.model_copy(update={"embedder": "openai", **settings})
        result = has_undisputed_prices(settings=given, database=self.database, clock=self.clock)
        assert isinstance(result, dg.AssetCheckResult)
        return "" if result.passed else result.description or ""


@pytest.fixture
def home(serve: Callable[..., Any]) -> Callable[..., Any]:
    """``with home(**settings) as home``: an installation, with stand-ins for the price list and model servers."""

    @contextmanager
    def living(stand_ins: dict[str, Any] | None = None, at: str = "openai_url", **settings: Any) -> Iterator[Home]:
        with serve(World("empty", []), stand_ins=SimulatorSettings(**(stand_ins or {})), **settings) as (running, made):
            yield Home(running.state, made.model_copy(update={"embedder_url": getattr(running, at)}))

    return living


def test_prices_of_the_list_are_stored_with_a_history_of_changes(home):
    with home() as here:
        first = here.refresh()
        assert first.trouble is None and first.changed[SMALL] == Price("embedding", Decimal("0.02"), None, 8191, 1536)
        # Nothing new writes nothing.
        assert not here.refresh().changed
        here.state.prices["text-embedding-3-small"]["input_cost_per_token"] = 3e-08
        assert set(here.refresh().changed) == {SMALL}
        assert here.history(*SMALL) == [(Decimal("0.02"), "list"), (Decimal("0.03"), "list")]
        assert here.price("azure", "text-embedding-3-small") == Decimal("0.022")
        assert here.price("gemini", "gemini-2.5-flash-lite") == Decimal("0.1")
        # Listed as free, or without a price: unknown, not 0.
        assert here.price("volcengine", "doubao-embedding") is here.price("ollama", "llama3.2") is None


def test_a_price_that_is_wrong_by_a_thousand_is_disputed_and_the_packaged_one_used(home):
    with home() as here:
        here.refresh()
        assert here.history(*LIGHT) == [(Decimal("0.1"), "package")]
        assert set(here.disputes()) == {LIGHT[1]}
        here.state.prices["text-embedding-3-small"]["input_cost_per_token"] = 2e-05
        here.refresh()
        assert here.price() == Decimal("0.02")
        assert "is more than 5.00" in here.disputes()[SMALL[1]]
        # It concerns whoever uses that model, until they have set a price.
        openai = {"embedder_url": "https://api.openai.com/v1", "embedder_model": SMALL[1]}
        assert "set APERTURE_EMBEDDER_PRICE" in here.dispute_check(**openai)
        assert here.dispute_check(**openai, embedder_price=Decimal("20")) == ""
        assert here.dispute_check(**openai | {"embedder_model": "text-embedding-3-large"}) == ""
        # Corrected: believed at once, and no longer in dispute.
        here.state.prices["text-embedding-3-small"]["input_cost_per_token"] = 2.5e-08
        here.refresh()
        assert (here.price(), set(here.disputes())) == (Decimal("0.025"), {LIGHT[1]})


def test_a_known_price_survives_a_price_that_is_none(home):
    with home() as here:
        here.refresh()
        for wrong in (0.0, "2e-08", None, [], -1.0):
            here.state.prices["text-embedding-3-small"]["input_cost_per_token"] = wrong
            read = here.refresh()
            assert (here.price(), read.trouble) == (Decimal("0.02"), None), wrong
            assert (SMALL[1] in here.disputes()) == (wrong == 0.0), wrong


def half(content: dict[str, Any]) -> dict[str, Any]:
    return dict(list(content.items())[: len(content) // 2])


BROKEN: dict[str, Callable[[SimulatorState], Any]] = {
    "entries, after": lambda state: setattr(state, "prices", half(state.prices)),
    "not an object": lambda state: setattr(state, "prices", [state.prices]),
    "holds no price": lambda state: setattr(state, "prices", {}),
    "is not JSON, or was cut off": lambda state: state.add_fault(FaultRule("prices", kind="malformed_json")),
    "The price list at": lambda state: state.add_fault(FaultRule("prices", kind="cut_off")),
    "is not JSON": lambda state: state.add_fault(FaultRule("prices", kind="html")),
    "is larger than": lambda state: state.add_fault(FaultRule("prices", kind="huge")),
    "larger than 20 MB": lambda state: state.add_fault(FaultRule("prices", kind="packed")),
    "not found": lambda state: state.add_fault(FaultRule("prices", status=404)),
}


def test_a_broken_list_is_refused_whole_and_all_prices_are_kept(home):
    with home() as here:
        here.refresh()
        with here.database.transaction() as connection:
            before = current_prices(connection, now=here.clock.now())
        good, disputes = here.state.prices, here.disputes()
        for words, breaks in BROKEN.items():
            breaks(here.state)
            read = here.refresh()
            assert not read.changed and words in (read.trouble or "")
            with here.database.transaction() as connection:
                assert current_prices(connection, now=here.clock.now()) == before, words
            assert here.disputes() == disputes, words
            # The next good list counts against the last good one.
            here.state.prices = good
            here.state.faults.clear()
            assert here.refresh().trouble is None, words


def test_a_list_that_became_shorter_for_good_is_accepted_on_request(home):
    with home() as here:
        here.refresh()
        here.state.prices = half(here.state.prices)
        assert "entries, after" in (here.refresh().trouble or "")
        assert "entries, after" in (here.refresh().trouble or "")
        assert here.refresh(accept_shorter=True).trouble is None
        assert here.refresh().trouble is None


def test_without_the_list_the_packaged_prices_are_used(home):
    """Offline, or with the list switched off, which sends no request."""
    with home(prices_url="http://127.0.0.1:9/prices.json", http_attempts=1) as here:
        read = here.refresh()
        assert "The price list at http://127.0.0.1:9" in (read.trouble or "") and "APERTURE_PRICES_URL" in read.trouble
        assert here.price() == Decimal("0.02")
        assert here.history(*LIGHT) == [(Decimal("0.1"), "package")]
    with home(prices_download=False) as here:
        assert here.refresh().trouble is None
        assert (here.state.requests("prices"), here.price()) == (0, Decimal("0.02"))


def test_a_newer_package_replaces_a_price_that_no_list_confirmed_since(home, monkeypatch: pytest.MonkeyPatch):
    with home() as here:
        here.refresh()
        newer = source.Packaged({SMALL: Price("embedding", Decimal("0.1"))}, (NOW + timedelta(days=30)).date())
        monkeypatch.setattr(source, "packaged_prices", lambda: newer)
        offline = here.settings.model_copy(update={"prices_download": False})
        here.refresh(offline)
        assert here.history(*SMALL) == [(Decimal("0.02"), "list"), (Decimal("0.1"), "package")]
        # Now the list's price is off by a factor of five from both.
        here.refresh()
        assert here.price() == Decimal("0.1")
        assert SMALL[1] in here.disputes()


# The configured model


def test_the_configured_model_has_the_price_of_its_provider(home):
    with home() as here:
        here.refresh()
        at_openai = here.configured(embedder_url="https://api.openai.com/v1", embedder_model=None)
        assert (at_openai.model, at_openai.provider, at_openai.price) == (SMALL[1], "openai", Decimal("0.02"))
        azure = {"embedder_url": "https://mine.openai.azure.com/openai/v1", "embedder_model": "text-embedding-3-small"}
        deployment = here.configured(**azure)
        assert deployment.price is None and "APERTURE_EMBEDDER_PRICED_AS" in deployment.why
        assert here.configured(**azure, embedder_priced_as="text-embedding-3-small").price == Decimal("0.022")
        unknown = here.configured(embedder_url="https://llm.example.org/v1", embedder_model="text-embedding-3-small")
        assert (unknown.provider, unknown.price) == (None, None)
        assert "APERTURE_EMBEDDER_PRICE" in unknown.why
        own = here.configured(embedder_url="https://llm.example.org/v1", embedder_price=Decimal("0.5"))
        assert own.price == Decimal("0.5")
        for embedder in ("static", "fastembed"):
            assert here.configured(embedder=embedder).price == 0


def test_a_model_that_runs_at_home_costs_nothing(home):
    with home() as here:
        for host in ("localhost", "127.0.0.1", "[::1]", "192.168.1.5", "10.0.0.2", "ollama", "nas.local"):
            url = f"http://{host}:11434/v1"
            assert here.configured(embedder_url=url, embedder_model="nomic-embed-text").price == 0, host
            remote = here.configured(embedder_url=url, embedder_model="some-embed:120b-cloud")
            assert remote.price is None and "cloud" in remote.why, host


# Offered models


@pytest.mark.parametrize("in_tags", [True, False])
def test_ollama_lists_its_models_with_their_use(home, in_tags: bool):
    stand_ins = {
        "ollama_lists_capabilities": in_tags,
        "ollama_models": {"nomic-embed-text:latest": ("embedding",), "llama3.2:3b": ("completion",)}
        | {"hosted-embed:cloud": ("embedding",)},
    }
    with home(stand_ins, embedder="openai", at="ollama_url", embedder_model="nomic-embed-text") as here:
        read = here.offered()
        assert read.trouble is None and read.models is not None
        shown = {one.model: (one.is_embedding, one.is_remote) for one in read.models}
        assert shown == {
            "nomic-embed-text:latest": (True, False),
            "hosted-embed:cloud": (True, True),
            "llama3.2:3b": (False, False),
        }
        assert here.state.requests("ollama") == read.requests == (1 if in_tags else 4)


def test_a_model_that_ollama_passes_on_has_no_known_price_whatever_its_name(home):
    with home(embedder="openai", at="ollama_url") as here:
        url = here.settings.embedder_url
        Shelf(here.database).do(
            "INSERT INTO ai_offered_models (endpoint, model, is_remote) VALUES (:url, 'my-embed:latest', true)", url=url
        )
        assert here.configured(embedder_url=url, embedder_model="my-embed").price is None
        assert here.configured(embedder_url=url, embedder_model="other").price == 0


@pytest.mark.parametrize("has_v1", [True, False])
def test_lm_studio_lists_its_models(home, has_v1: bool):
    with home({"lm_studio_has_v1": has_v1}, embedder="openai", at="lm_studio_url") as here:
        read = here.offered()
        assert read.trouble is None and read.models is not None
        embedding = next(one for one in read.models if one.model == "text-embedding-nomic-embed-text-v1.5")
        assert embedding.is_embedding is (True if has_v1 else None)
        assert len(read.models) == 2


def test_an_openai_compatible_list_tells_only_names(home):
    with home(embedder="openai", at="openai_url") as here:
        read = here.offered()
        assert read.models is not None
        names = {one.model for one in read.models}
        assert "text-embedding-3-small" in names and {one.is_embedding for one in read.models} == {None}


def test_a_failing_endpoint_keeps_the_models_that_it_offered(home):
    with home(embedder="openai", at="ollama_url") as here:
        before = here.offered().models
        here.state.add_fault(FaultRule("ollama", status=503))
        read = here.offered()
        assert read.models == before and "503" in (read.trouble or "")
        # Those of another endpoint are not shown for this one.
        here.settings = here.settings.model_copy(update={"embedder_url": "http://127.0.0.1:9/v1", "http_attempts": 1})
        assert here.offered().models == []


# Usage


def test_the_rate_of_change_needs_some_history(database: Database):
    """The first fill is not a change, and neither is what follows within a day."""
    shelf = Shelf(database)
    shelf.films(*(film(number) for number in range(10)))
    filled = Clock().now() - timedelta(days=9)
    shelf.do("INSERT INTO embedding_models (model_key, dimensions, activated_at) VALUES ('m', 2, :at)", at=filled)
    lists = ("genres", "keywords", "cast", "directors", "creators", "companies", "networks", "countries", "streams")
    empty = ", ".join(["'{}'"] * (len(lists) + 1))
    for place, row in enumerate(shelf.rows("SELECT work_id FROM works ORDER BY work_id")):
        shelf.do(
            "INSERT INTO embeddings (model_key, work_id, text_hash, vector, updated_at) "
            "VALUES ('m', :work, '', '[1,2]', :at)",
            work=row["work_id"],
            at=filled + (timedelta(days=5) if place < 4 else timedelta(hours=20)),
        )
        names = ", ".join(f'"{name}"' for name in lists)
        shelf.do(
            f"INSERT INTO enriched_metadata (work_id, media_type, title, overview, {names}, sources) "
            f"VALUES (:work, 'movie', 'Alien', 'In space.', {empty})",
            work=row["work_id"],
        )
    with database.transaction() as connection:
        usage = estimate_usage(connection, filled + timedelta(days=9))
        early = estimate_usage(connection, filled + timedelta(days=7))
    assert (usage.texts, usage.tokens) == (10, 10 * round(len("Alien. In space") / 4))
    # Four texts in eight days.
    assert usage.tokens_per_month == pytest.approx(4 / 8 * 30 * usage.tokens / 10, abs=1)
    assert early.tokens_per_month is None and "Not known yet" in early.why


def test_a_price_of_a_wrong_clock_is_replaced_by_the_next_one(home):
    with home() as here:
        here.clock.moment += timedelta(days=365)
        here.refresh()
        ahead = here.price()
        assert ahead is not None
        here.clock.moment -= timedelta(days=372)
        assert here.price() == ahead, "there is no other"
        with here.database.transaction() as connection:
            add_prices(connection, {SMALL: Price("embedding", ahead * 2)}, {SMALL: "list"}, here.clock.now())
        assert here.price() == ahead * 2
