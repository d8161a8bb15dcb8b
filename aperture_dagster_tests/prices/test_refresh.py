"""The price list and the endpoint's models over HTTP, and what the database keeps of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.prices.costs import (
    ConfiguredModel,
    ModelCost,
    Usage,
    estimate_usage,
    read_configured_model,
    read_costs,
)
from aperture_dagster.prices.endpoint import why_not_offered
from aperture_dagster.prices.price_list import Key, OfferedModel
from aperture_dagster.prices.refresh import PriceList, refresh_offered, refresh_prices
from aperture_dagster.prices.stored import ListedPrice, listed_prices, read_offered
from aperture_dagster.settings import Settings
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.world import World
from aperture_dagster.taste.configured_embedder import Embedders
from aperture_dagster_tests.e2e.commands import run_command
from aperture_dagster_tests.household import SetClock
from aperture_dagster_tests.shelf import Shelf, film

NOW = datetime(2026, 12, 1, 8, tzinfo=UTC)
SMALL, LIGHT = ("openai", "text-embedding-3-small"), ("cohere", "embed-multilingual-light-v3.0")


class Home:
    """An installation that reads prices."""

    def __init__(self, state: SimulatorState, settings: Settings) -> None:
        self.state, self.settings = state, settings
        self.database, self.clock = Database(settings), SetClock(NOW)

    def refresh(self) -> tuple[int, str | None]:
        """Read the prices as a week later; return how many changed, and what was wrong with the list."""
        self.clock.moment += timedelta(days=7)
        return refresh_prices(PriceList(self.settings), self.database, self.clock)

    def prices(self) -> dict[Key, ListedPrice]:
        with self.database.transaction() as connection:
            return listed_prices(connection)

    def price(self, provider: str = SMALL[0], model: str = SMALL[1]) -> Decimal | None:
        stored = self.prices().get((provider, model))
        return stored.price if stored is not None else None

    def costs(self, usage: Usage, **settings: Any) -> dict[tuple[str, str], ModelCost]:
        given = self.settings.model_copy(update={"embedder": "openai", **settings})
        with self.database.transaction() as connection:
            found = read_costs(connection, given, usage)
        assert [one.is_configured for one in found].index(True) == 0 and sum(one.is_configured for one in found) == 1
        assert len({(one.provider, one.model) for one in found}) == len(found)
        return {(one.provider, one.model): one for one in found}

    def offered(self) -> list[OfferedModel]:
        """Read what the endpoint offers, as far as it answers."""
        self.trouble = refresh_offered(self.settings, Embedders(self.settings), self.database)
        with self.database.transaction() as connection:
            return read_offered(connection, self.settings.embedder_url)

    def configured(self, **settings: Any) -> ConfiguredModel:
        given = self.settings.model_copy(update={"embedder": "openai", **settings})
        with self.database.transaction() as connection:
            return read_configured_model(given, connection)


@pytest.fixture
def home(serve: Callable[..., Any]) -> Callable[..., Any]:
    """``with home(**settings) as home``: an installation, with stand-ins for the price list and model servers."""

    @contextmanager
    def living(stand_ins: dict[str, Any] | None = None, at: str = "openai_url", **settings: Any) -> Iterator[Home]:
        with serve(World("empty", []), stand_ins=SimulatorSettings(**(stand_ins or {})), **settings) as (running, made):
            yield Home(running.state, made.model_copy(update={"embedder_url": getattr(running, at)}))

    return living


def test_prices_of_embedding_models_are_stored_and_a_wrong_one_changes_nothing(home):
    with home() as here:
        written, trouble = here.refresh()
        assert trouble is None and written == len(here.prices()) > 5
        assert here.prices()[SMALL] == ListedPrice(Decimal("0.02"), here.clock.now())
        assert here.price("openai", "gpt-4o-mini") is None, "nothing here writes texts"
        # Nothing new writes nothing.
        assert here.refresh() == (0, None)
        entry = here.state.prices["text-embedding-3-small"]
        entry["input_cost_per_token"] = 3e-08
        assert here.refresh() == (1, None)
        assert here.prices()[SMALL] == ListedPrice(Decimal("0.03"), here.clock.now())
        # A known price survives one that is none, or off by a thousand.
        for wrong in (0.0, 3e-05):
            entry["input_cost_per_token"] = wrong
            assert here.refresh() == (0, None), wrong
        assert here.prices()[SMALL].gone_since is None


def test_a_model_that_left_the_list_keeps_its_price_and_is_marked_until_it_returns(home):
    with home() as here:
        here.refresh()
        known, entry = here.prices()[SMALL], here.state.prices.pop("text-embedding-3-small")
        assert here.refresh() == (1, None)
        left_at = here.clock.now()
        assert here.prices()[SMALL] == ListedPrice(known.price, known.valid_from, left_at)
        # It left once, whoever looks again; and a list that is switched off says nothing about models.
        assert here.refresh() == (0, None)
        off = PriceList(here.settings.model_copy(update={"prices_url": None}))
        assert refresh_prices(off, here.database, here.clock) == (0, None)
        assert {key for key, one in here.prices().items() if one.gone_since} == {SMALL}
        own = here.configured(embedder_url="https://api.openai.com/v1", embedder_model=None)
        assert own.price == known.price and f"no longer has this model since {left_at:%Y-%m-%d}" in own.why
        costs = here.costs(USAGE, embedder="static")
        assert f"gone from the price list since {left_at:%Y-%m-%d}" in costs[SMALL].row()["model"]
        assert {key for key, one in costs.items() if one.gone_since} == {SMALL}
        shown = run_command(here.settings.model_copy(update={"embedder": "static"}), "status", "--prices", columns=80)
        assert f"not listed since {left_at:%Y-%m-%d}" in shown.output
        # Back without a plausible price, it is listed all the same.
        here.state.prices["text-embedding-3-small"] = entry | {"input_cost_per_token": 0.0}
        assert here.refresh() == (1, None) and here.prices()[SMALL] == known


BROKEN: dict[str, Callable[[SimulatorState], Any]] = {
    "holds no price of an embedding model": lambda state: setattr(state, "prices", {}),
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
        packaged = here.configured(embedder_url="https://api.openai.com/v1", embedder_model=None)
        assert (packaged.price, packaged.why) == (Decimal("0.02"), "From the package.")
    with home(prices_url=None) as here:
        assert here.refresh() == (0, None)
        assert (here.state.requests("prices"), here.prices()) == (0, {})


# What each model costs

USAGE = Usage(10, 2_000_000, 500_000, "")


def test_the_calculator_prices_each_model_that_can_be_configured_for_this_library(home):
    with home() as here:
        here.refresh()
        costs = here.costs(USAGE, embedder_url="https://api.openai.com/v1", embedder_model="text-embedding-3-large")
        small = costs[SMALL]
        assert (small.price, small.library, small.per_month) == (Decimal("0.02"), Decimal("0.04"), Decimal("0.01"))
        assert costs["openai", "text-embedding-3-large"].is_configured and not small.is_configured
        assert costs[LIGHT].price == Decimal("0.1"), "the package knows what the list does not"
        static = costs["in this process", "static"]
        assert (static.price, static.library, static.per_month) == (0, 0, 0)
        assert list(costs.values())[1].price == 0, "the cheapest come first"
        unmeasured = here.costs(Usage(10, 2_000_000, None, ""), embedder="static")
        assert unmeasured[SMALL].per_month is None and unmeasured[SMALL].library == Decimal("0.04")
        assert unmeasured["in this process", "static"].is_configured
        assert unmeasured["in this process", "static"].per_month == 0, "whatever changes"


def test_an_unknown_price_is_unknown_in_the_calculator_and_not_free(home):
    models = ("nomic-embed-text:latest", "hosted-embed:cloud", "llama3.2:latest")
    with home({"ollama_models": models}, embedder="openai", at="ollama_url") as here:
        here.offered()
        costs = here.costs(USAGE, embedder_model="nomic-embed-text")
        own = costs["local", "nomic-embed-text"]
        assert own.is_configured and (own.price, own.library, own.per_month) == (0, 0, 0)
        hosted = costs["local", "hosted-embed:cloud"]
        assert hosted.price is hosted.library is hosted.per_month is None
        assert hosted.row() == {
            "model": "hosted-embed:cloud", "provider": "local", "usd_per_million": "unknown",
            "usd_library": "unknown", "usd_per_month": "unknown",
        }  # fmt: skip
        assert not any("llama" in model for _, model in costs), "it makes no vectors"
        (elsewhere, *_) = here.costs(USAGE, embedder_url="https://llm.example.org/v1", embedder_model="mine").values()
        assert (elsewhere.model, elsewhere.provider, elsewhere.library) == ("mine", "unknown", None)


def test_the_command_shows_the_costs_of_every_model_in_80_columns(home):
    with home() as here:
        here.refresh()
        settings = here.settings.model_copy(update={"embedder": "static"})
        shown = run_command(settings, "status", "--prices", columns=80)
        assert shown.exit_code == 0, shown.output
        lines = shown.output.splitlines()
        assert max(map(len, lines[: lines.index("")])) <= 80, "the table; sentences in a pipe are one line"
        (small,) = (line.split() for line in lines if "text-embedding-3-small" in line and " openai " in line)
        assert small[-3:] == ["0.02", "0", "unknown"], "an empty library costs nothing, and its changes are not known"
        assert "Configured is static." in shown.output
        document = json.loads(run_command(settings, "status", "--prices", "--json").output)
        assert document["models"][0]["model"] == "static" and document["models"][0]["per_month"] == "0"


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
