"""Prices are those of embedding models, one row per model: text models cost this program nothing."""

from alembic import op

revision = "v4"
down_revision = "v3"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Keep the last price of each embedding model that the list had."""
    connection = op.get_bind()
    for statement in (
        "DELETE FROM ai_prices WHERE usage <> 'embedding' OR source <> 'list' OR input_price > 5",
        "DELETE FROM ai_prices o USING ai_prices n WHERE (o.provider, o.model) = (n.provider, n.model) "
        "AND o.valid_from < n.valid_from",
        "ALTER TABLE ai_prices ADD COLUMN price NUMERIC, DROP CONSTRAINT pk_ai_prices",
        "UPDATE ai_prices SET price = input_price",
        "ALTER TABLE ai_prices DROP COLUMN usage, DROP COLUMN input_price, DROP COLUMN output_price, "
        "DROP COLUMN source",
        "ALTER TABLE ai_prices ALTER COLUMN price SET NOT NULL",
        "COMMENT ON COLUMN ai_prices.price IS 'US dollars per million tokens'",
        "ALTER TABLE ai_prices ADD CONSTRAINT pk_ai_prices PRIMARY KEY (provider, model), "
        "ADD CONSTRAINT ck_ai_prices_price CHECK (price >= 0 AND price <= 5)",
        "COMMENT ON TABLE ai_prices IS "
        "'Prices of embedding models in the price list. Models without a known price are absent.'",
        "COMMENT ON COLUMN ai_prices.valid_from IS 'when this price was first read'",
    ):
        connection.exec_driver_sql(statement)
