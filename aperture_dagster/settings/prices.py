"""Settings of AI prices: where they are read, and what the configured embedding model costs."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from aperture_dagster.settings.types import Address, OptionalText, SettingsGroup

PriceInDollars = Annotated[Decimal, Field(ge=0, le=1000)]


class PricesSettings(SettingsGroup):
    """AI prices."""

    prices_download: bool = True
    """Whether prices of AI models are downloaded once a week; otherwise only those in the package are used."""
    prices_url: Address = "https://raw.githubusercontent.com/BerriAI/litellm/main/model_prices_and_context_window.json"
    """Address of the price list, in the format of LiteLLM's model cost map."""
    embedder_price: PriceInDollars | None = None
    """What the embeddings endpoint charges, in US dollars per million tokens; replaces any listed price. Set it for an
    endpoint that no list knows.
    """
    embedder_priced_as: OptionalText = None
    """Model whose listed price applies, if the endpoint calls it by another name: on Azure, the model behind the
    deployment, such as text-embedding-3-small.
    """
