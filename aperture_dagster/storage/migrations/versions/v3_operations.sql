-- Backups

-- Prices

-- Users

-- Alerts

-- Housekeeping
