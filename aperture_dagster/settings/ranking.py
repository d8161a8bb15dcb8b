"""Settings of embeddings, recommendations and Top Picks."""

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt

from aperture_dagster.settings.types import Address, Secret, SettingsGroup, Share


class EmbedderSettings(SettingsGroup):
    """Embeddings."""

    embedder: Literal["wordllama", "fastembed", "openai"] = "wordllama"
    """Embedding backend: wordllama (local, ships with the package), fastembed (local transformer, extra
    `transformer`), openai (any OpenAI-compatible endpoint: OpenAI, Ollama, LM Studio).
    """
    embedder_model: str | None = None
    """Model of fastembed or the endpoint. Defaults: BAAI/bge-small-en-v1.5, text-embedding-3-small."""
    embedder_url: Address = "https://api.openai.com/v1"
    """Base address of the OpenAI-compatible endpoint."""
    embedder_api_key: Secret = Field(default=None, validation_alias="OPENAI_API_KEY")
    """API key of that endpoint, if it requires one."""
    embedder_batch_size: int = Field(default=64, ge=1, le=2048)
    """Texts per request to the endpoint."""


class RecommendationSettings(SettingsGroup):
    """Taste and recommendations."""

    recommendations_per_list: int = Field(default=50, ge=1, le=500)
    """Titles per user and media type."""
    diversity: Share = 0.1
    """Weight of variety within a list: 0 ranks by score alone, 1 by variety alone."""
    crowd_folder: Path | None = None
    """Folder in MovieLens format (ratings.csv with links.csv, or with movies.jsonl; also gzipped) with what other
    people watched, which improves the lists of a small household more than anything else.
    """


class TopPicksSettings(SettingsGroup):
    """Top Picks."""

    top_picks_window_days: PositiveInt = 30
    """Days of plays that Top Picks are based on."""
    top_picks_per_list: int = Field(default=10, ge=1, le=200)
    """Titles per media type in Top Picks."""
    top_picks_minimum_viewers: PositiveInt = 2
    """Viewers that a pick needs; lowered automatically when too few titles have them."""
