"""Settings of AI prices: where they are read, and what the configured embedding model costs."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from aperture_dagster.settings.types import OptionalAddress, SettingsGroup

PriceInDollars = Annotated[Decimal, Field(ge=0, le=1000)]


class PricesSettings(SettingsGroup):
    """AI prices."""

    prices_url: OptionalAddress = (
        "https://raw.githubusercontent.com/BerriAI/litellm/main/model_prices_and_context_window.json"
    )
    """Address of a list of the prices of AI models, in the format of LiteLLM's model cost map, which is read once a
    week. Empty: only the prices in the package are used.
    """
    embedder_price: PriceInDollars | None = None
    """What the embeddings endpoint charges, in US dollars per million tokens; replaces any listed price. Set it for an
    endpoint that no list knows, and on Azure, where the configured name is that of a deployment.
    """
