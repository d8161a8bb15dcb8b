ALTER TABLE published_libraries ADD COLUMN unverified_since TIMESTAMP WITH TIME ZONE;
COMMENT ON COLUMN published_libraries.unverified_since IS 'when something was placed that the server has not shown yet';
