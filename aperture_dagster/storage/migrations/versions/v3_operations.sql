-- Backups

-- Prices

-- Users
ALTER TABLE users ADD COLUMN former_names TEXT[] NOT NULL DEFAULT '{}'::text[];
CREATE OR REPLACE VIEW present_users AS SELECT * FROM users WHERE removed_at IS NULL;

-- Alerts

-- Housekeeping
