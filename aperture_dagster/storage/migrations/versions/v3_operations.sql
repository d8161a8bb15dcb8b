-- Backups

-- Prices

CREATE TABLE ai_prices (
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    valid_from TIMESTAMP WITH TIME ZONE NOT NULL,
    usage TEXT NOT NULL,
    input_price NUMERIC NOT NULL,
    output_price NUMERIC,
    max_input_tokens INTEGER,
    dimensions INTEGER,
    source TEXT NOT NULL,
    CONSTRAINT pk_ai_prices PRIMARY KEY (provider, model, valid_from),
    CONSTRAINT ck_ai_prices_usage CHECK (usage IN ('embedding', 'text')),
    CONSTRAINT ck_ai_prices_source CHECK (source IN ('list', 'package')),
    CONSTRAINT ck_ai_prices_input_price CHECK (input_price >= 0 AND input_price <= 200),
    CONSTRAINT ck_ai_prices_output_price CHECK (output_price >= 0 AND output_price <= 200)
);
COMMENT ON TABLE ai_prices IS 'Prices of AI models, one row per change. Models without a known price are absent.';
COMMENT ON COLUMN ai_prices.model IS 'its name at that provider';
COMMENT ON COLUMN ai_prices.valid_from IS 'when it was first read; the newest row is in use';
COMMENT ON COLUMN ai_prices.input_price IS 'US dollars per million tokens';
COMMENT ON COLUMN ai_prices.output_price IS 'the same for generated tokens; null for embedding models';
COMMENT ON COLUMN ai_prices.dimensions IS 'of the vectors of an embedding model';
COMMENT ON COLUMN ai_prices.source IS 'list: the price list; package: shipped with the package';

CREATE TABLE ai_price_disputes (
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    input_price NUMERIC,
    output_price NUMERIC,
    reason TEXT NOT NULL,
    disputed_since TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_ai_price_disputes PRIMARY KEY (provider, model)
);
COMMENT ON TABLE ai_price_disputes IS 'Prices of the last price list that are not believed; what was known before stays in use.';
COMMENT ON COLUMN ai_price_disputes.input_price IS 'as listed';
COMMENT ON COLUMN ai_price_disputes.output_price IS 'as listed';
COMMENT ON COLUMN ai_price_disputes.reason IS 'why it is not believed';

CREATE TABLE ai_price_lists (
    url TEXT NOT NULL,
    entries INTEGER,
    read_at TIMESTAMP WITH TIME ZONE,
    trouble TEXT,
    CONSTRAINT pk_ai_price_lists PRIMARY KEY (url)
);
COMMENT ON TABLE ai_price_lists IS 'Public price lists, as they were read the last time.';
COMMENT ON COLUMN ai_price_lists.entries IS 'of the last list that was accepted; null: none was';
COMMENT ON COLUMN ai_price_lists.read_at IS 'when that was';
COMMENT ON COLUMN ai_price_lists.trouble IS 'why the list was not used the last time; null: it was';

CREATE TABLE ai_offered_models (
    endpoint TEXT NOT NULL,
    model TEXT NOT NULL,
    is_embedding BOOLEAN,
    is_remote BOOLEAN NOT NULL,
    max_input_tokens INTEGER,
    CONSTRAINT pk_ai_offered_models PRIMARY KEY (endpoint, model)
);
COMMENT ON TABLE ai_offered_models IS 'The models that the configured embeddings endpoint listed the last time.';
COMMENT ON COLUMN ai_offered_models.endpoint IS 'its address';
COMMENT ON COLUMN ai_offered_models.is_embedding IS 'null: the endpoint does not tell';
COMMENT ON COLUMN ai_offered_models.is_remote IS 'listed by a local server that passes requests on';

-- Users
ALTER TABLE users ADD COLUMN former_names TEXT[] NOT NULL DEFAULT '{}'::text[];
CREATE OR REPLACE VIEW present_users AS SELECT * FROM users WHERE removed_at IS NULL;

-- Alerts
CREATE TABLE alert_problems (
    key TEXT NOT NULL,
    category TEXT NOT NULL,
    subject TEXT NOT NULL,
    sentence TEXT NOT NULL,
    page TEXT NOT NULL,
    first_seen TIMESTAMP WITH TIME ZONE NOT NULL,
    last_seen TIMESTAMP WITH TIME ZONE NOT NULL,
    count INTEGER NOT NULL,
    report_after TIMESTAMP WITH TIME ZONE NOT NULL,
    resolved_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_alert_problems PRIMARY KEY (key),
    CONSTRAINT ck_alert_problems_category CHECK (category IN ('run', 'check', 'freshness')),
    CONSTRAINT ck_alert_problems_count CHECK (count >= 1)
);
COMMENT ON TABLE alert_problems IS 'Problems that are open, or were until a moment ago.';
COMMENT ON COLUMN alert_problems.key IS 'category, subject and class of the cause';
COMMENT ON COLUMN alert_problems.subject IS 'asset, asset.check or job';
COMMENT ON COLUMN alert_problems.sentence IS 'what was wrong last, and what to do';
COMMENT ON COLUMN alert_problems.page IS 'its page in the UI';
COMMENT ON COLUMN alert_problems.report_after IS 'it is not reported before';
COMMENT ON COLUMN alert_problems.resolved_at IS 'when it was over; the row goes once that is reported';

CREATE TABLE alerts_told (
    key TEXT NOT NULL,
    address TEXT NOT NULL,
    tried_at TIMESTAMP WITH TIME ZONE NOT NULL,
    told_at TIMESTAMP WITH TIME ZONE,
    count INTEGER DEFAULT 0 NOT NULL,
    CONSTRAINT pk_alerts_told PRIMARY KEY (key, address),
    CONSTRAINT fk_alerts_told_key FOREIGN KEY(key) REFERENCES alert_problems (key) ON DELETE CASCADE
);
COMMENT ON TABLE alerts_told IS 'What each address was told about the problems.';
COMMENT ON COLUMN alerts_told.address IS 'digest of the address, which is a secret';
COMMENT ON COLUMN alerts_told.tried_at IS 'the last attempt';
COMMENT ON COLUMN alerts_told.told_at IS 'the last attempt that succeeded';
COMMENT ON COLUMN alerts_told.count IS 'of the problem at that time';

-- Housekeeping
