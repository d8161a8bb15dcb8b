"""``aperture status --prices``: what each embedding model costs for this library."""

from __future__ import annotations

from dataclasses import asdict

from rich.table import Table
from rich.text import Text

from aperture_dagster.cli.show import how_to_begin
from aperture_dagster.cli.status.document import FORMAT
from aperture_dagster.cli.terminal import Terminal, echo_json
from aperture_dagster.model import Clock
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.database import NothingYet, read_only
from aperture_dagster.prices.costs import estimate_usage, read_costs, shown
from aperture_dagster.prices.endpoint import why_not_offered
from aperture_dagster.prices.stored import read_offered
from aperture_dagster.settings import Settings


def show_prices(settings: Settings, *, as_json: bool) -> None:
    """Print what each embedding model that can be configured costs for the library."""
    try:
        with read_only(settings) as connection:
            usage = estimate_usage(connection, Clock().now())
            costs = read_costs(connection, settings, usage)
            gone = why_not_offered(settings, read_offered(connection, settings.embedder_url))
    except NothingYet as error:
        raise OperatorError(f"{error} {how_to_begin(settings)}") from None
    if as_json:
        echo_json(
            {
                "format": FORMAT,
                "texts": usage.texts,
                "tokens": usage.tokens,
                "tokens_per_month": usage.tokens_per_month,
                "gone": gone,
                "models": [asdict(cost) for cost in costs],
            }
        )
        return
    console = Terminal()
    table = Table("Model", "Provider", box=None, padding=(0, 1))
    for heading in ("USD per\nmillion", "for the\nlibrary", "per\nmonth"):
        table.add_column(heading, justify="right", no_wrap=True)
    for cost in costs:
        amounts = (shown(dollars) for dollars in (cost.price, cost.library, cost.per_month))
        name = Text(cost.model, "bold" if cost.is_configured else "")
        if cost.gone_since is not None:
            name.append(f"\nnot listed since {cost.gone_since:%Y-%m-%d}", "dim")
        table.add_row(name, Text(cost.provider), *amounts)
    console.print(table)
    console.print()
    own = next(cost for cost in costs if cost.is_configured)
    console.print_hanging(f"Configured is {own.model}. The library has {usage.texts:,} texts, {usage.tokens:,} tokens.")
    console.print_hanging(f"Per month: {usage.why[:1].lower()}{usage.why[1:]}", "dim")
    if own.gone_since is not None:
        console.print_hanging(
            f"The price list no longer has {own.model} since {own.gone_since:%Y-%m-%d}; it may have been withdrawn.",
            "yellow",
        )
    if gone is not None:
        console.print_hanging(gone, "yellow")
