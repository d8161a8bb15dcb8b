ALTER TABLE published_libraries ADD COLUMN root TEXT, ADD COLUMN root_on_server TEXT;
COMMENT ON COLUMN published_libraries.folder IS 'below the root';
COMMENT ON COLUMN published_libraries.root IS 'APERTURE_PUBLISH_ROOT when it was placed; null: not known, as from earlier versions';
COMMENT ON COLUMN published_libraries.root_on_server IS 'the same folder, as the media server sees it';
CREATE TABLE published_leftovers (
    root TEXT NOT NULL,
    folder TEXT NOT NULL,
    root_on_server TEXT NOT NULL,
    list_key TEXT NOT NULL,
    name TEXT NOT NULL,
    entries JSONB NOT NULL,
    left_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_published_leftovers PRIMARY KEY (root, folder)
);
COMMENT ON TABLE published_leftovers IS 'Folders of libraries that are gone from the media server, whose files could not be removed yet.';
COMMENT ON COLUMN published_leftovers.root IS 'as this machine sees it';
COMMENT ON COLUMN published_leftovers.folder IS 'below the root';
COMMENT ON COLUMN published_leftovers.name IS 'on the media server';
COMMENT ON COLUMN published_leftovers.entries IS 'entry -> folder, and its files as in published_entries';
