"""The price list and the endpoint's models over HTTP, and what the database keeps of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.prices import Key, OfferedModel, Price, StoredPrice, add_prices, current_prices, read_offered
from aperture_dagster.prices import refresh as source
from aperture_dagster.prices.refresh import (
    ConfiguredModel,
    PriceList,
    estimate_usage,
    read_configured_model,
    refresh_offered,
    refresh_prices,
    why_not_offered,
)
from aperture_dagster.settings import Settings
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.world import World
from aperture_dagster.taste.embedder import Embedders
from aperture_dagster_tests.household import SetClock
from aperture_dagster_tests.shelf import Shelf, film

NOW = datetime(2026, 12, 1, 8, tzinfo=UTC)
SMALL, LIGHT = ("openai", "text-embedding-3-small"), ("cohere", "embed-multilingual-light-v3.0")


class Home:
    """An installation that reads prices."""

    def __init__(self, state: SimulatorState, settings: Settings) -> None:
        self.state, self.settings = state, settings
        self.database, self.clock = Database(settings), SetClock(NOW)

    def refresh(self, settings: Settings | None = None) -> tuple[dict[Key, Price], str | None]:
        """Read the prices as a week later; return what changed, and what was wrong with the list."""
        self.clock.moment += timedelta(days=7)
        return refresh_prices(PriceList(settings or self.settings), self.database, self.clock)

    def prices(self) -> dict[Key, StoredPrice]:
        with self.database.transaction() as connection:
            return current_prices(connection, now=self.clock.now())

    def price(self, provider: str = SMALL[0], model: str = SMALL[1]) -> Decimal | None:
        stored = self.prices().get((provider, model))
        return stored.price.input if stored is not None else None

    def history(self, provider: str, model: str) -> list[tuple[Decimal, str]]:
        statement = "SELECT input_price, source FROM ai_prices WHERE provider = :provider AND model = :model"
        rows = Shelf(self.database).rows(f"{statement} ORDER BY valid_from", provider=provider, model=model)
        return [(row["input_price"], row["source"]) for row in rows]

    def offered(self) -> list[OfferedModel]:
        """Read what the endpoint offers, as far as it answers."""
        self.trouble = refresh_offered(self.settings, Embedders(self.settings), self.database)
        with self.database.transaction() as connection:
            return read_offered(connection, self.settings.embedder_url)

    def configured(self, **settings: Any) -> ConfiguredModel:
        given = self.settings.model_copy(update={"embedder": "openai", **settings})
        return read_configured_model(given, self.database, self.clock)


@pytest.fixture
def home(serve: Callable[..., Any]) -> Callable[..., Any]:
    """``with home(**settings) as home``: an installation, with stand-ins for the price list and model servers."""

    @contextmanager
    def living(stand_ins: dict[str, Any] | None = None, at: str = "openai_url", **settings: Any) -> Iterator[Home]:
        with serve(World("empty", []), stand_ins=SimulatorSettings(**(stand_ins or {})), **settings) as (running, made):
            yield Home(running.state, made.model_copy(update={"embedder_url": getattr(running, at)}))

    return living


def test_prices_of_the_list_are_stored_with_a_history_of_changes(home, monkeypatch: pytest.MonkeyPatch):
    with home() as here:
        changed, trouble = here.refresh()
        assert trouble is None and changed[SMALL] == Price("embedding", Decimal("0.02"))
        # Nothing new writes nothing.
        assert here.refresh() == ({}, None)
        entry = here.state.prices["text-embedding-3-small"]
        entry["input_cost_per_token"] = 3e-08
        assert set(here.refresh()[0]) == {SMALL}
        assert here.history(*SMALL) == [(Decimal("0.02"), "list"), (Decimal("0.03"), "list")]
        # Listed as free, or without a price: unknown, not 0.
        assert here.price("volcengine", "doubao-embedding") is here.price("ollama", "llama3.2") is None
        # A known price survives one that is none, or off by a thousand.
        for wrong in (0.0, 3e-05):
            entry["input_cost_per_token"] = wrong
            assert here.refresh() == ({}, None), wrong
        # What the list never had comes from the package, and from a newer one.
        assert here.history(*LIGHT) == [(Decimal("0.1"), "package")]
        newer = {SMALL: Price("embedding", Decimal(1)), LIGHT: Price("embedding", Decimal("0.2"))}
        monkeypatch.setattr(source, "packaged_prices", lambda: newer)
        assert set(here.refresh()[0]) == {LIGHT}
        assert here.history(*LIGHT) == [(Decimal("0.1"), "package"), (Decimal("0.2"), "package")]


BROKEN: dict[str, Callable[[SimulatorState], Any]] = {
    "holds no price": lambda state: setattr(state, "prices", {}),
    "is not JSON, or was cut off": lambda state: state.add_fault(FaultRule("prices", kind="malformed_json")),
    "larger than 20 MB": lambda state: state.add_fault(FaultRule("prices", kind="packed")),
}


def test_a_broken_list_is_refused_whole_and_all_prices_are_kept(home):
    with home() as here:
        here.refresh()
        before, good = here.prices(), here.state.prices
        for words, breaks in BROKEN.items():
            breaks(here.state)
            changed, trouble = here.refresh()
            assert not changed and words in (trouble or "")
            assert here.prices() == before, words
            here.state.prices = good
            here.state.faults.clear()


def test_without_the_list_the_packaged_prices_are_used(home):
    """Offline, or with the list switched off, which sends no request."""
    with home(prices_url="http://127.0.0.1:9/prices.json", http_attempts=1) as here:
        _, trouble = here.refresh()
        assert "The price list at http://127.0.0.1:9" in (trouble or "") and "APERTURE_PRICES_URL" in trouble
        assert here.price() == Decimal("0.02")
    with home(prices_url=None) as here:
        assert here.refresh()[1] is None
        assert (here.state.requests("prices"), here.price()) == (0, Decimal("0.02"))


# The configured model


def test_the_configured_model_has_the_price_of_its_provider(home):
    with home() as here:
        here.refresh()
        at_openai = here.configured(embedder_url="https://api.openai.com/v1", embedder_model=None)
        assert (at_openai.model, at_openai.provider, at_openai.price) == (SMALL[1], "openai", Decimal("0.02"))
        azure = {"embedder_url": "https://mine.openai.azure.com/openai/v1", "embedder_model": "my-deployment"}
        deployment = here.configured(**azure)
        assert deployment.price is None and "APERTURE_EMBEDDER_PRICE" in deployment.why
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


def test_ollama_lists_its_models_and_says_which_it_passes_on(home):
    models = ("nomic-embed-text:latest", "hosted-embed:cloud")
    with home({"ollama_models": models}, embedder="openai", at="ollama_url") as here:
        assert here.offered() == [OfferedModel("hosted-embed:cloud", True), OfferedModel("nomic-embed-text:latest")]
        assert here.state.requests("ollama") == 1
        # Its name need not say so.
        Shelf(here.database).do("UPDATE ai_offered_models SET model = 'my-embed:latest' WHERE is_remote")
        url = here.settings.embedder_url
        assert here.configured(embedder_url=url, embedder_model="my-embed").price is None
        assert here.configured(embedder_url=url, embedder_model="nomic-embed-text").price == 0


@pytest.mark.parametrize("at", ["openai_url", "lm_studio_url"])
def test_a_model_that_is_gone_from_the_endpoint_is_named(home, at: str):
    with home(embedder="openai", at=at) as here:
        offered = here.offered()
        assert here.trouble is None and len(offered) > 1

        def found(model: str, **settings: Any) -> str | None:
            return why_not_offered(here.settings.model_copy(update={"embedder_model": model, **settings}), offered)

        assert found(offered[0].model) is None
        gone = found("withdrawn-3")
        assert f"withdrawn-3 is not among the {len(offered)} models that {here.settings.embedder_url}" in (gone or "")
        # Lists that do not name what can be used.
        assert found("my-deployment", embedder_url="https://mine.openai.azure.com/openai/v1") is None
        assert found("withdrawn-3", embedder="static") is None


def test_a_failing_endpoint_keeps_the_models_that_it_offered(home):
    with home(embedder="openai", at="ollama_url") as here:
        before = here.offered()
        here.state.add_fault(FaultRule("ollama", status=503))
        assert here.offered() == before and "503" in (here.trouble or "")
        # Those of another endpoint are not shown for this one.
        here.settings = here.settings.model_copy(update={"embedder_url": "http://127.0.0.1:9/v1", "http_attempts": 1})
        assert here.offered() == []


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
        at_once = estimate_usage(connection, filled + timedelta(seconds=1))
    assert (usage.texts, usage.tokens) == (10, 10 * round(len("Alien. In space") / 4))
    # Four texts in eight days.
    assert usage.tokens_per_month == pytest.approx(4 / 8 * 30 * usage.tokens / 10, abs=1)
    assert early.tokens_per_month is None and "Not known yet" in early.why
    assert at_once.why.endswith("so far there are 0."), "less than nothing would be a riddle"


def test_a_price_of_a_wrong_clock_is_replaced_by_the_next_one(home):
    with home() as here:
        here.clock.moment += timedelta(days=365)
        here.refresh()
        ahead = here.price()
        assert ahead is not None
        here.clock.moment -= timedelta(days=372)
        assert here.price() == ahead, "there is no other"
        with here.database.transaction() as connection:
            add_prices(connection, {SMALL: Price("embedding", ahead * 2)}, "list", here.clock.now())
        assert here.price() == ahead * 2
