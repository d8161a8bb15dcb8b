-- Backups

-- Prices

-- Users

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
    tell_after TIMESTAMP WITH TIME ZONE NOT NULL,
    last_told TIMESTAMP WITH TIME ZONE,
    told_count INTEGER NOT NULL,
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
COMMENT ON COLUMN alert_problems.tell_after IS 'it is not reported before';
COMMENT ON COLUMN alert_problems.last_told IS 'when it was reported last';
COMMENT ON COLUMN alert_problems.told_count IS 'the count at that time';
COMMENT ON COLUMN alert_problems.resolved_at IS 'when it was over; the row goes once that is reported';

CREATE TABLE alert_outbox (
    address TEXT NOT NULL,
    queued_at TIMESTAMP WITH TIME ZONE NOT NULL,
    title TEXT NOT NULL,
    body TEXT NOT NULL,
    is_good BOOLEAN NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE NOT NULL,
    attempts SMALLINT DEFAULT 0 NOT NULL,
    unconfirmed SMALLINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_alert_outbox PRIMARY KEY (address, queued_at),
    CONSTRAINT ck_alert_outbox_attempts CHECK (attempts >= 0),
    CONSTRAINT ck_alert_outbox_unconfirmed CHECK (unconfirmed >= 0)
);
COMMENT ON TABLE alert_outbox IS 'Messages that have not been delivered yet, per address.';
COMMENT ON COLUMN alert_outbox.address IS 'digest of the address, which is a secret';
COMMENT ON COLUMN alert_outbox.is_good IS 'it reports nothing but recoveries';
COMMENT ON COLUMN alert_outbox.unconfirmed IS 'last attempts of which nobody knows whether they arrived, because the process ended';

-- Housekeeping
