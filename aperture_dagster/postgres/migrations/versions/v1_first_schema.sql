CREATE SEQUENCE item_id_seq AS BIGINT;

CREATE TABLE facts (
    name TEXT NOT NULL,
    value JSONB NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_facts PRIMARY KEY (name)
);
COMMENT ON TABLE facts IS 'Single values about this installation, such as the identity of its media server.';

CREATE TABLE services (
    service TEXT NOT NULL,
    batch_size INTEGER,
    answered_at TIMESTAMP WITH TIME ZONE,
    failing_since TIMESTAMP WITH TIME ZONE,
    trouble TEXT,
    CONSTRAINT pk_services PRIMARY KEY (service),
    CONSTRAINT ck_services_batch_size CHECK (batch_size >= 1)
);
COMMENT ON TABLE services IS 'State of external services between runs.';
COMMENT ON COLUMN services.batch_size IS 'largest accepted batch, if a larger one was refused';
COMMENT ON COLUMN services.answered_at IS 'last success';
COMMENT ON COLUMN services.failing_since IS 'first of the current failures; null while it works';
COMMENT ON COLUMN services.trouble IS 'the last error';

CREATE TABLE quota (
    service TEXT NOT NULL,
    day DATE NOT NULL,
    used INTEGER NOT NULL,
    "limit" INTEGER NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_quota PRIMARY KEY (service, day)
);
COMMENT ON TABLE quota IS 'Requests per service and day, by all processes.';
COMMENT ON COLUMN quota.day IS 'UTC';

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

CREATE TABLE libraries (
    library_id TEXT NOT NULL,
    name TEXT NOT NULL,
    collection_type TEXT,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_libraries PRIMARY KEY (library_id)
);
COMMENT ON TABLE libraries IS 'The media server''s libraries.';

CREATE TABLE works (
    work_id BIGSERIAL NOT NULL,
    media_type TEXT NOT NULL,
    tmdb_id BIGINT,
    imdb_id TEXT,
    tvdb_id BIGINT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    unused_since TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_works PRIMARY KEY (work_id),
    CONSTRAINT ck_works_media_type CHECK (media_type IN ('movie', 'series'))
);
CREATE INDEX ix_works_imdb ON works (media_type, imdb_id);
CREATE INDEX ix_works_tmdb ON works (media_type, tmdb_id);
COMMENT ON TABLE works IS 'Films and series, independent of their copies. Works in use are never deleted: history and ratings refer to them.';
COMMENT ON COLUMN works.unused_since IS 'since when no other row refers to it; null while one does';

CREATE TABLE item_versions (
    server_item_id TEXT NOT NULL,
    item_id BIGINT NOT NULL,
    primary_item_id BIGINT NOT NULL,
    is_published BOOLEAN DEFAULT false NOT NULL,
    CONSTRAINT pk_item_versions PRIMARY KEY (server_item_id),
    CONSTRAINT uq_item_versions_item_id UNIQUE (item_id)
);
CREATE INDEX ix_item_versions_primary_item_id ON item_versions (primary_item_id);
COMMENT ON TABLE item_versions IS 'Alternate versions and published copies, which listings omit. Their watch states count for the title or episode.';
COMMENT ON COLUMN item_versions.item_id IS 'used by watch states of the version';
COMMENT ON COLUMN item_versions.primary_item_id IS 'the title or episode of the version';
COMMENT ON COLUMN item_versions.is_published IS 'a published copy of ours';

CREATE TABLE users (
    user_id TEXT NOT NULL,
    partition_key TEXT NOT NULL,
    name TEXT NOT NULL,
    email TEXT,
    email_source TEXT,
    is_administrator BOOLEAN NOT NULL,
    is_hidden BOOLEAN NOT NULL,
    is_disabled BOOLEAN NOT NULL,
    max_parental_rating INTEGER,
    all_libraries BOOLEAN NOT NULL,
    library_ids TEXT[] NOT NULL,
    blocked_tags TEXT[] NOT NULL,
    allowed_tags TEXT[] NOT NULL,
    open_library_ids TEXT[] NOT NULL,
    excluded_folders TEXT[] NOT NULL,
    last_activity_at TIMESTAMP WITH TIME ZONE,
    first_seen_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    removed_at TIMESTAMP WITH TIME ZONE,
    former_names TEXT[] DEFAULT '{}'::text[] NOT NULL,
    CONSTRAINT pk_users PRIMARY KEY (user_id),
    CONSTRAINT uq_users_partition_key UNIQUE (partition_key)
);
COMMENT ON TABLE users IS 'One row per user ever seen on the media server; removed_at is set if the server no longer lists them.';

CREATE TABLE discovery_lists (
    request TEXT NOT NULL,
    media_type TEXT NOT NULL,
    entries JSONB NOT NULL,
    read_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_discovery_lists PRIMARY KEY (request),
    CONSTRAINT ck_discovery_lists_media_type CHECK (media_type IN ('movie', 'series'))
);
COMMENT ON TABLE discovery_lists IS 'Lists of titles that services returned, so that no run asks twice a day.';
COMMENT ON COLUMN discovery_lists.request IS 'such as movie/discover?genres=18/2';
COMMENT ON COLUMN discovery_lists.entries IS 'in the list''s order, as far as the service tells';

CREATE TABLE fetches (
    source TEXT NOT NULL,
    kind TEXT NOT NULL,
    item BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    attempts SMALLINT NOT NULL,
    added_at TIMESTAMP WITH TIME ZONE,
    fetched_at TIMESTAMP WITH TIME ZONE,
    attempted_at TIMESTAMP WITH TIME ZONE,
    due_at TIMESTAMP WITH TIME ZONE NOT NULL,
    found_id BIGINT,
    detail TEXT,
    CONSTRAINT pk_fetches PRIMARY KEY (source, kind, item),
    CONSTRAINT ck_fetches_kind CHECK (kind IN ('movie', 'series', 'collection', 'company', 'network')),
    CONSTRAINT ck_fetches_outcome CHECK (outcome IN ('ok', 'not_found', 'error', 'waiting')),
    CONSTRAINT ck_fetches_attempts CHECK (attempts >= 0)
);
CREATE INDEX ix_fetches_due ON fetches (source, kind, due_at, item) WHERE outcome <> 'waiting';
CREATE INDEX ix_fetches_item ON fetches (item);
CREATE INDEX ix_fetches_waiting ON fetches (source, kind, added_at DESC NULLS LAST, item) WHERE outcome = 'waiting';
COMMENT ON TABLE fetches IS 'The work lists of all sources: the last attempt per item, and when the next is due.';
COMMENT ON COLUMN fetches.kind IS 'movie, series: item is a work; collection, company, network';
COMMENT ON COLUMN fetches.outcome IS 'last attempt: ok, not_found, error; waiting: no attempt yet';
COMMENT ON COLUMN fetches.attempts IS 'consecutive failures';
COMMENT ON COLUMN fetches.added_at IS 'when it was added to the library';
COMMENT ON COLUMN fetches.fetched_at IS 'last success';
COMMENT ON COLUMN fetches.found_id IS 'the source''s id, if it had to be looked up';

CREATE TABLE tmdb_collections (
    collection_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    overview TEXT,
    poster_path TEXT,
    backdrop_path TEXT,
    part_tmdb_ids BIGINT[] NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_tmdb_collections PRIMARY KEY (collection_id)
);
COMMENT ON TABLE tmdb_collections IS 'Collections of films on TMDb.';

CREATE TABLE studio_logos (
    kind TEXT NOT NULL,
    studio_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    titles INTEGER NOT NULL,
    logo_path TEXT,
    tried_path TEXT,
    stored_path TEXT,
    file_name TEXT,
    picture_kind TEXT,
    sha256 TEXT,
    bytes INTEGER,
    shown_sha256 TEXT,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_studio_logos PRIMARY KEY (kind, studio_id),
    CONSTRAINT ck_studio_logos_kind CHECK (kind IN ('company', 'network')),
    CONSTRAINT ck_studio_logos_titles CHECK (titles >= 0)
);
COMMENT ON TABLE studio_logos IS 'Companies and networks of the library''s titles, and their logos.';
COMMENT ON COLUMN studio_logos.kind IS 'company, network';
COMMENT ON COLUMN studio_logos.studio_id IS 'on TMDb';
COMMENT ON COLUMN studio_logos.titles IS 'in the library';
COMMENT ON COLUMN studio_logos.logo_path IS 'on TMDb; null: none';
COMMENT ON COLUMN studio_logos.tried_path IS 'the logo_path of the last attempt';
COMMENT ON COLUMN studio_logos.stored_path IS 'the logo_path of the stored file; null: no file yet';
COMMENT ON COLUMN studio_logos.file_name IS 'below APERTURE_HOME/logos';
COMMENT ON COLUMN studio_logos.picture_kind IS 'png, jpeg or svg, by content';
COMMENT ON COLUMN studio_logos.shown_sha256 IS 'the picture last uploaded to the media server';

CREATE TABLE embedding_models (
    model_key TEXT NOT NULL,
    dimensions INTEGER NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    activated_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_embedding_models PRIMARY KEY (model_key),
    CONSTRAINT ck_embedding_models_dimensions CHECK (dimensions >= 1)
);
COMMENT ON TABLE embedding_models IS 'Embedding models; the most recently activated one is in use.';
COMMENT ON COLUMN embedding_models.activated_at IS 'the newest is in use; null until its vectors are complete';

CREATE TABLE ai_prices (
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    valid_from TIMESTAMP WITH TIME ZONE NOT NULL,
    usage TEXT NOT NULL,
    input_price NUMERIC NOT NULL,
    output_price NUMERIC,
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
COMMENT ON COLUMN ai_prices.source IS 'list: the price list; package: shipped with the package';

CREATE TABLE ai_offered_models (
    endpoint TEXT NOT NULL,
    model TEXT NOT NULL,
    is_remote BOOLEAN NOT NULL,
    CONSTRAINT pk_ai_offered_models PRIMARY KEY (endpoint, model)
);
COMMENT ON TABLE ai_offered_models IS 'The models that the configured embeddings endpoint listed the last time.';
COMMENT ON COLUMN ai_offered_models.endpoint IS 'its address';
COMMENT ON COLUMN ai_offered_models.is_remote IS 'listed by a local server that passes requests on';

CREATE TABLE published_libraries (
    list_key TEXT NOT NULL,
    user_id TEXT,
    media_type TEXT NOT NULL,
    name TEXT NOT NULL,
    folder TEXT NOT NULL,
    server_item_id TEXT,
    policy_id TEXT,
    missing INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    unverified_since TIMESTAMP WITH TIME ZONE,
    root TEXT NOT NULL,
    root_on_server TEXT NOT NULL,
    CONSTRAINT pk_published_libraries PRIMARY KEY (list_key),
    CONSTRAINT ck_published_libraries_media_type CHECK (media_type IN ('movie', 'series')),
    CONSTRAINT uq_published_libraries_folder UNIQUE (folder)
);
COMMENT ON TABLE published_libraries IS 'Libraries that were created on the media server. One is found there by its folder, never by id or name.';
COMMENT ON COLUMN published_libraries.list_key IS 'which list, such as recommendations/USER/movie';
COMMENT ON COLUMN published_libraries.user_id IS 'its owner; null: shared';
COMMENT ON COLUMN published_libraries.name IS 'on the media server';
COMMENT ON COLUMN published_libraries.folder IS 'below the root';
COMMENT ON COLUMN published_libraries.server_item_id IS 'the library''s id on the media server when last seen';
COMMENT ON COLUMN published_libraries.policy_id IS 'the same in users'' policies';
COMMENT ON COLUMN published_libraries.missing IS 'entries that the server did not show after its last scan';
COMMENT ON COLUMN published_libraries.changed IS 'entries that the last run added, changed or removed';
COMMENT ON COLUMN published_libraries.unverified_since IS 'when something was placed that the server has not shown yet';
COMMENT ON COLUMN published_libraries.root IS 'APERTURE_PUBLISH_ROOT when it was placed';
COMMENT ON COLUMN published_libraries.root_on_server IS 'the same folder, as the media server sees it';

CREATE TABLE published_lists (
    list_key TEXT NOT NULL,
    kind TEXT NOT NULL,
    user_id TEXT NOT NULL,
    name TEXT NOT NULL,
    server_list_id TEXT,
    items TEXT[] NOT NULL,
    others TEXT[] NOT NULL,
    changed INTEGER NOT NULL,
    CONSTRAINT pk_published_lists PRIMARY KEY (list_key, kind, user_id),
    CONSTRAINT ck_published_lists_kind CHECK (kind IN ('collection', 'playlist'))
);
COMMENT ON TABLE published_lists IS 'Collections and playlists on the media server.';
COMMENT ON COLUMN published_lists.user_id IS 'a playlist''s owner; empty: shared';
COMMENT ON COLUMN published_lists.server_list_id IS 'null while it is being created or changed';
COMMENT ON COLUMN published_lists.items IS 'server ids that were put into it';
COMMENT ON COLUMN published_lists.others IS 'server ids that others added to it';
COMMENT ON COLUMN published_lists.changed IS 'entries that the last run added, moved or removed';

CREATE TABLE published_access (
    user_id TEXT NOT NULL,
    server_item_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    CONSTRAINT pk_published_access PRIMARY KEY (user_id, server_item_id, kind),
    CONSTRAINT ck_published_access_kind CHECK (kind IN ('view', 'latest'))
);
COMMENT ON TABLE published_access IS 'What was hidden once in users'' settings, from a user''s view or from Latest. What a user shows again stays shown.';
COMMENT ON COLUMN published_access.server_item_id IS 'a library''s id';

CREATE TABLE library_lists (
    user_id TEXT NOT NULL,
    before TEXT[] NOT NULL,
    offered TEXT[] NOT NULL,
    CONSTRAINT pk_library_lists PRIMARY KEY (user_id)
);
COMMENT ON TABLE library_lists IS 'Users who might see all libraries, and were given a list of them instead. From one who lacks a library that was offered, the operator took it: they keep the list.';
COMMENT ON COLUMN library_lists.before IS 'the ids in the user''s policy before';
COMMENT ON COLUMN library_lists.offered IS 'ids in policies of libraries that were put on the list';

CREATE TABLE item_files (
    item_id BIGINT NOT NULL,
    path TEXT,
    sources JSONB NOT NULL,
    picture_tag TEXT,
    artwork JSONB NOT NULL,
    read_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_item_files PRIMARY KEY (item_id)
);
COMMENT ON TABLE item_files IS 'The files of titles and episodes that are published.';
COMMENT ON COLUMN item_files.path IS 'of the item when the files were read';
COMMENT ON COLUMN item_files.sources IS 'versions, parts and subtitles, as the server lists them';
COMMENT ON COLUMN item_files.picture_tag IS 'changes with the item''s picture';
COMMENT ON COLUMN item_files.artwork IS 'kind, tag and path of each of its other pictures';

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

CREATE TABLE titles (
    item_id BIGINT NOT NULL,
    work_id BIGINT NOT NULL,
    media_type TEXT NOT NULL,
    server_item_id TEXT,
    library_id TEXT NOT NULL,
    title TEXT NOT NULL,
    original_title TEXT,
    sort_title TEXT,
    year INTEGER,
    premiere_date DATE,
    overview TEXT,
    tagline TEXT,
    genres TEXT[] NOT NULL,
    tags TEXT[] NOT NULL,
    studios TEXT[] NOT NULL,
    official_rating TEXT,
    community_rating REAL,
    critic_rating REAL,
    runtime_minutes INTEGER,
    status TEXT,
    path TEXT,
    tmdb_id BIGINT,
    imdb_id TEXT,
    tvdb_id BIGINT,
    added_at TIMESTAMP WITH TIME ZONE,
    picture_tag TEXT,
    first_seen_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    removed_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_titles PRIMARY KEY (item_id),
    CONSTRAINT ck_titles_media_type CHECK (media_type IN ('movie', 'series')),
    CONSTRAINT ck_titles_has_server_id CHECK (server_item_id IS NOT NULL OR removed_at IS NOT NULL),
    CONSTRAINT fk_titles_work_id FOREIGN KEY(work_id) REFERENCES works (work_id),
    CONSTRAINT uq_titles_server_item_id UNIQUE (server_item_id)
);
CREATE INDEX ix_titles_media_type ON titles (media_type, removed_at);
CREATE INDEX ix_titles_work_id ON titles (work_id);
COMMENT ON TABLE titles IS 'One row per film or series item on the media server; removed_at is its tombstone. Never deleted.';
COMMENT ON COLUMN titles.server_item_id IS 'null if the server has given it to another item';
COMMENT ON COLUMN titles.picture_tag IS 'of the primary picture; null if it has none';

CREATE TABLE api_keys (
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    user_id TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_api_keys PRIMARY KEY (name),
    CONSTRAINT uq_api_keys_digest UNIQUE (digest),
    CONSTRAINT fk_api_keys_user_id FOREIGN KEY(user_id) REFERENCES users (user_id)
);
COMMENT ON TABLE api_keys IS 'Programs that may read lists of users.';
COMMENT ON COLUMN api_keys.name IS 'what the operator calls the program';
COMMENT ON COLUMN api_keys.digest IS 'SHA-256 of the key';
COMMENT ON COLUMN api_keys.user_id IS 'whose lists it may read; null: everybody''s';

CREATE TABLE member_choices (
    user_id TEXT NOT NULL,
    publish BOOLEAN NOT NULL,
    list_name TEXT,
    excluded_genres TEXT[] DEFAULT '{}' NOT NULL,
    newsletter BOOLEAN NOT NULL,
    address TEXT,
    language TEXT,
    unsubscribe_key TEXT DEFAULT gen_random_uuid()::text NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_member_choices PRIMARY KEY (user_id),
    CONSTRAINT fk_member_choices_user_id FOREIGN KEY(user_id) REFERENCES users (user_id),
    CONSTRAINT uq_member_choices_unsubscribe_key UNIQUE (unsubscribe_key)
);
COMMENT ON TABLE member_choices IS 'What members chose on their page; who chose nothing has no row.';
COMMENT ON COLUMN member_choices.publish IS 'whether their own lists are on the media server';
COMMENT ON COLUMN member_choices.list_name IS 'in place of their name in the names of these';
COMMENT ON COLUMN member_choices.excluded_genres IS 'of which no title is on their lists';
COMMENT ON COLUMN member_choices.address IS 'e-mail address for it, or an encrypted one of apprise; null: that in users';
COMMENT ON COLUMN member_choices.language IS 'in which it is, such as de-AT';
COMMENT ON COLUMN member_choices.unsubscribe_key IS 'in the link that ends it, for whoever holds a letter';

CREATE TABLE watch_state (
    user_id TEXT NOT NULL,
    item_id BIGINT NOT NULL,
    work_id BIGINT NOT NULL,
    is_episode BOOLEAN NOT NULL,
    played BOOLEAN NOT NULL,
    play_count INTEGER NOT NULL,
    position_share REAL NOT NULL,
    last_played_at TIMESTAMP WITH TIME ZONE,
    favorite BOOLEAN NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_watch_state PRIMARY KEY (user_id, item_id),
    CONSTRAINT ck_watch_state_play_count CHECK (play_count >= 0),
    CONSTRAINT ck_watch_state_position_share CHECK (position_share >= 0 AND position_share <= 1),
    CONSTRAINT fk_watch_state_user_id FOREIGN KEY(user_id) REFERENCES users (user_id),
    CONSTRAINT fk_watch_state_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
CREATE INDEX ix_watch_state_user_work ON watch_state (user_id, work_id);
COMMENT ON TABLE watch_state IS 'Current state on the media server, one row per user and item.';
COMMENT ON COLUMN watch_state.position_share IS '0-1, playback position as a share of the runtime';

CREATE TABLE plays (
    user_id TEXT NOT NULL,
    item_id BIGINT NOT NULL,
    played_at TIMESTAMP WITH TIME ZONE NOT NULL,
    work_id BIGINT NOT NULL,
    is_episode BOOLEAN NOT NULL,
    play_count INTEGER NOT NULL,
    completion REAL NOT NULL,
    seen_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    imported_from TEXT,
    CONSTRAINT pk_plays PRIMARY KEY (user_id, item_id, played_at),
    CONSTRAINT ck_plays_play_count CHECK (play_count >= 0),
    CONSTRAINT ck_plays_completion CHECK (completion >= 0 AND completion <= 1),
    CONSTRAINT fk_plays_user_id FOREIGN KEY(user_id) REFERENCES users (user_id),
    CONSTRAINT fk_plays_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
CREATE INDEX ix_plays_imported ON plays (user_id) WHERE imported_from IS NOT NULL;
CREATE INDEX ix_plays_played_at ON plays (played_at);
COMMENT ON TABLE plays IS 'Log of plays. Plays without a known time are not included.';
COMMENT ON COLUMN plays.play_count IS 'plays since the last sync';
COMMENT ON COLUMN plays.completion IS '0-1';
COMMENT ON COLUMN plays.imported_from IS 'the program whose file it is from; null: from the media server';

CREATE TABLE history_syncs (
    user_id TEXT NOT NULL,
    watermark TIMESTAMP WITH TIME ZONE,
    synced_at TIMESTAMP WITH TIME ZONE NOT NULL,
    full_synced_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_history_syncs PRIMARY KEY (user_id),
    CONSTRAINT fk_history_syncs_user_id FOREIGN KEY(user_id) REFERENCES users (user_id)
);
COMMENT ON TABLE history_syncs IS 'How far each user''s history has been read.';
COMMENT ON COLUMN history_syncs.watermark IS 'latest last_played_at seen';

CREATE TABLE discovery_pool (
    work_id BIGINT NOT NULL,
    media_type TEXT NOT NULL,
    tmdb_id BIGINT NOT NULL,
    wanted_at TIMESTAMP WITH TIME ZONE NOT NULL,
    fetched_at TIMESTAMP WITH TIME ZONE,
    imdb_id TEXT,
    tvdb_id BIGINT,
    title TEXT,
    original_title TEXT,
    overview TEXT,
    tagline TEXT,
    status TEXT,
    release_date DATE,
    genres TEXT[],
    keywords TEXT[],
    "cast" TEXT[],
    directors TEXT[],
    creators TEXT[],
    companies TEXT[],
    networks TEXT[],
    countries TEXT[],
    original_language TEXT,
    vote_average FLOAT,
    vote_count INTEGER,
    popularity FLOAT,
    poster_path TEXT,
    is_adult BOOLEAN,
    certifications JSONB,
    releases JSONB,
    providers JSONB,
    recommended_tmdb_ids BIGINT[],
    CONSTRAINT pk_discovery_pool PRIMARY KEY (work_id),
    CONSTRAINT ck_discovery_pool_media_type CHECK (media_type IN ('movie', 'series')),
    CONSTRAINT uq_discovery_pool_media_type_tmdb_id UNIQUE (media_type, tmdb_id),
    CONSTRAINT fk_discovery_pool_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
COMMENT ON TABLE discovery_pool IS 'Titles that are not in the library and were suggested to somebody, with details from TMDb.';
COMMENT ON COLUMN discovery_pool.wanted_at IS 'when it was last suggested to anybody';
COMMENT ON COLUMN discovery_pool.fetched_at IS 'when the columns below were requested; null: not yet';
COMMENT ON COLUMN discovery_pool.certifications IS 'country -> certifications, without empty ones';
COMMENT ON COLUMN discovery_pool.releases IS 'of a film: country -> {theatrical, digital, physical, tv: first date}';
COMMENT ON COLUMN discovery_pool.providers IS 'country -> {flatrate, free, ads, rent, buy: names}; from JustWatch';

CREATE TABLE discovery_vectors (
    model_key TEXT NOT NULL,
    work_id BIGINT NOT NULL,
    text_hash TEXT NOT NULL,
    vector BYTEA NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_discovery_vectors PRIMARY KEY (model_key, work_id),
    CONSTRAINT fk_discovery_vectors_model_key FOREIGN KEY(model_key) REFERENCES embedding_models (model_key),
    CONSTRAINT fk_discovery_vectors_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
COMMENT ON TABLE discovery_vectors IS 'One vector per model and title of the pool, made by the recipe of the library''s.';
COMMENT ON COLUMN discovery_vectors.vector IS 'float16, little-endian';

CREATE TABLE discovery_candidates (
    user_id TEXT NOT NULL,
    media_type TEXT NOT NULL,
    rank SMALLINT NOT NULL,
    work_id BIGINT NOT NULL,
    score REAL NOT NULL,
    components JSONB NOT NULL,
    because BIGINT[] NOT NULL,
    listed_since DATE NOT NULL,
    generated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_discovery_candidates PRIMARY KEY (user_id, media_type, rank),
    CONSTRAINT ck_discovery_candidates_media_type CHECK (media_type IN ('movie', 'series')),
    CONSTRAINT ck_discovery_candidates_rank CHECK (rank >= 1),
    CONSTRAINT ck_discovery_candidates_score CHECK (score >= 0 AND score <= 1),
    CONSTRAINT uq_discovery_candidates_user_id_work_id UNIQUE (user_id, work_id),
    CONSTRAINT fk_discovery_candidates_user_id FOREIGN KEY(user_id) REFERENCES users (user_id),
    CONSTRAINT fk_discovery_candidates_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
COMMENT ON TABLE discovery_candidates IS 'The current suggestions for each user of titles that are not in the library, replaced as a whole.';
COMMENT ON COLUMN discovery_candidates.score IS '0-1';
COMMENT ON COLUMN discovery_candidates.components IS 'components of the score';
COMMENT ON COLUMN discovery_candidates.because IS 'the liked works that explain it';
COMMENT ON COLUMN discovery_candidates.listed_since IS 'the first of the days on which it has been on the list without a break';

CREATE TABLE dismissals (
    user_id TEXT NOT NULL,
    work_id BIGINT NOT NULL,
    media_type TEXT NOT NULL,
    tmdb_id BIGINT,
    imdb_id TEXT,
    tvdb_id BIGINT,
    title TEXT NOT NULL,
    dismissed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_dismissals PRIMARY KEY (user_id, work_id),
    CONSTRAINT ck_dismissals_media_type CHECK (media_type IN ('movie', 'series')),
    CONSTRAINT fk_dismissals_user_id FOREIGN KEY(user_id) REFERENCES users (user_id),
    CONSTRAINT fk_dismissals_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
COMMENT ON TABLE dismissals IS 'What a user does not want to be suggested, under all ids known then: services renumber titles.';
COMMENT ON COLUMN dismissals.title IS 'as it was called then';

CREATE TABLE seerr_requests (
    user_id TEXT NOT NULL,
    work_id BIGINT NOT NULL,
    media_type TEXT NOT NULL,
    tmdb_id BIGINT NOT NULL,
    title TEXT NOT NULL,
    request_id BIGINT,
    state TEXT NOT NULL,
    seasons SMALLINT,
    requested_at TIMESTAMP WITH TIME ZONE NOT NULL,
    read_at TIMESTAMP WITH TIME ZONE,
    detail TEXT,
    CONSTRAINT pk_seerr_requests PRIMARY KEY (user_id, work_id),
    CONSTRAINT ck_seerr_requests_media_type CHECK (media_type IN ('movie', 'series')),
    CONSTRAINT ck_seerr_requests_state CHECK (state IN ('sending', 'pending', 'approved', 'declined', 'failed', 'completed', 'available', 'refused')),
    CONSTRAINT fk_seerr_requests_user_id FOREIGN KEY(user_id) REFERENCES users (user_id),
    CONSTRAINT fk_seerr_requests_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
COMMENT ON TABLE seerr_requests IS 'Requests sent to Seerr for a user, and what became of them. Never deleted: none is sent twice.';
COMMENT ON COLUMN seerr_requests.request_id IS 'on Seerr; null: not confirmed';
COMMENT ON COLUMN seerr_requests.state IS 'sending: the answer is not known yet; else what Seerr says';
COMMENT ON COLUMN seerr_requests.seasons IS 'requested, of a series';
COMMENT ON COLUMN seerr_requests.read_at IS 'since when Seerr is known to say so';
COMMENT ON COLUMN seerr_requests.detail IS 'Seerr''s words';

CREATE TABLE tmdb_metadata (
    work_id BIGINT NOT NULL,
    tmdb_id BIGINT NOT NULL,
    imdb_id TEXT,
    tvdb_id BIGINT,
    title TEXT,
    original_title TEXT,
    overview TEXT,
    tagline TEXT,
    status TEXT,
    release_date DATE,
    runtime_minutes INTEGER,
    genres TEXT[] NOT NULL,
    keywords TEXT[] NOT NULL,
    "cast" JSONB NOT NULL,
    directors TEXT[] NOT NULL,
    creators TEXT[] NOT NULL,
    writers TEXT[] NOT NULL,
    composers TEXT[] NOT NULL,
    cinematographers TEXT[] NOT NULL,
    companies JSONB NOT NULL,
    networks JSONB NOT NULL,
    countries TEXT[] NOT NULL,
    languages TEXT[] NOT NULL,
    original_language TEXT,
    vote_average FLOAT,
    vote_count INTEGER,
    popularity FLOAT,
    poster_path TEXT,
    backdrop_path TEXT,
    collection_id BIGINT,
    collection_name TEXT,
    last_episode JSONB,
    next_episode JSONB,
    recommended_tmdb_ids BIGINT[] NOT NULL,
    similar_tmdb_ids BIGINT[] NOT NULL,
    trait_ids JSONB,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_tmdb_metadata PRIMARY KEY (work_id),
    CONSTRAINT fk_tmdb_metadata_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
CREATE INDEX ix_tmdb_metadata_collection_id ON tmdb_metadata (collection_id) WHERE collection_id IS NOT NULL;
COMMENT ON TABLE tmdb_metadata IS 'Metadata of a work from TMDb.';
COMMENT ON COLUMN tmdb_metadata."cast" IS 'first 15: [{name, character}]';
COMMENT ON COLUMN tmdb_metadata.companies IS '[{id, name, logo_path}]';
COMMENT ON COLUMN tmdb_metadata.networks IS '[{id, name, logo_path}]';
COMMENT ON COLUMN tmdb_metadata.trait_ids IS 'ids on TMDb: {genres, keywords, people: {name: id}}; null: not fetched since then';

CREATE TABLE omdb_ratings (
    work_id BIGINT NOT NULL,
    imdb_id TEXT NOT NULL,
    imdb_rating REAL,
    imdb_votes INTEGER,
    rotten_tomatoes SMALLINT,
    metacritic SMALLINT,
    awards TEXT,
    award_wins INTEGER,
    award_nominations INTEGER,
    oscars_won SMALLINT,
    rated TEXT,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_omdb_ratings PRIMARY KEY (work_id),
    CONSTRAINT fk_omdb_ratings_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
COMMENT ON TABLE omdb_ratings IS 'Ratings and awards of a work from OMDb.';
COMMENT ON COLUMN omdb_ratings.imdb_rating IS '0-10';
COMMENT ON COLUMN omdb_ratings.rotten_tomatoes IS '0-100, critics';
COMMENT ON COLUMN omdb_ratings.metacritic IS '0-100';
COMMENT ON COLUMN omdb_ratings.awards IS 'text from OMDb';

CREATE TABLE mdblist_scores (
    work_id BIGINT NOT NULL,
    score SMALLINT,
    imdb_rating REAL,
    imdb_votes INTEGER,
    trakt REAL,
    letterboxd REAL,
    rotten_tomatoes REAL,
    rotten_tomatoes_audience REAL,
    metacritic REAL,
    keywords TEXT[] NOT NULL,
    streams TEXT[] NOT NULL,
    certification TEXT,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_mdblist_scores PRIMARY KEY (work_id),
    CONSTRAINT fk_mdblist_scores_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
COMMENT ON TABLE mdblist_scores IS 'Scores of many sites, keywords and streaming providers of a work from MDBList.';
COMMENT ON COLUMN mdblist_scores.score IS '0-100, computed by MDBList';
COMMENT ON COLUMN mdblist_scores.imdb_rating IS '0-10';
COMMENT ON COLUMN mdblist_scores.trakt IS '0-100';
COMMENT ON COLUMN mdblist_scores.letterboxd IS '0-5';
COMMENT ON COLUMN mdblist_scores.rotten_tomatoes IS '0-100, critics';
COMMENT ON COLUMN mdblist_scores.rotten_tomatoes_audience IS '0-100';
COMMENT ON COLUMN mdblist_scores.metacritic IS '0-100';

CREATE TABLE enriched_metadata (
    work_id BIGINT NOT NULL,
    media_type TEXT NOT NULL,
    title TEXT NOT NULL,
    original_title TEXT,
    year INTEGER,
    tmdb_id BIGINT,
    imdb_id TEXT,
    tvdb_id BIGINT,
    overview TEXT,
    tagline TEXT,
    genres TEXT[] NOT NULL,
    keywords TEXT[] NOT NULL,
    "cast" TEXT[] NOT NULL,
    directors TEXT[] NOT NULL,
    creators TEXT[] NOT NULL,
    companies TEXT[] NOT NULL,
    networks TEXT[] NOT NULL,
    countries TEXT[] NOT NULL,
    language TEXT,
    official_rating TEXT,
    runtime_minutes INTEGER,
    release_date DATE,
    status TEXT,
    vote_average FLOAT,
    vote_count INTEGER,
    popularity FLOAT,
    collection_name TEXT,
    poster_path TEXT,
    next_episode JSONB,
    imdb_rating FLOAT,
    imdb_votes INTEGER,
    rotten_tomatoes FLOAT,
    rotten_tomatoes_audience FLOAT,
    metacritic FLOAT,
    letterboxd FLOAT,
    trakt FLOAT,
    mdblist_score FLOAT,
    awards TEXT,
    award_wins INTEGER,
    award_nominations INTEGER,
    oscars_won INTEGER,
    streams TEXT[] NOT NULL,
    sources JSONB NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_enriched_metadata PRIMARY KEY (work_id),
    CONSTRAINT ck_enriched_metadata_media_type CHECK (media_type IN ('movie', 'series')),
    CONSTRAINT fk_enriched_metadata_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
COMMENT ON TABLE enriched_metadata IS 'Merged metadata of a work, with a defined precedence of sources per column, and the source of each value.';
COMMENT ON COLUMN enriched_metadata.vote_average IS '0-10';
COMMENT ON COLUMN enriched_metadata.next_episode IS 'of a series: {season, number, title, air_date}';
COMMENT ON COLUMN enriched_metadata.imdb_rating IS '0-10';
COMMENT ON COLUMN enriched_metadata.rotten_tomatoes IS '0-100, critics';
COMMENT ON COLUMN enriched_metadata.rotten_tomatoes_audience IS '0-100';
COMMENT ON COLUMN enriched_metadata.metacritic IS '0-100';
COMMENT ON COLUMN enriched_metadata.letterboxd IS '0-5';
COMMENT ON COLUMN enriched_metadata.trakt IS '0-100';
COMMENT ON COLUMN enriched_metadata.mdblist_score IS '0-100';
COMMENT ON COLUMN enriched_metadata.sources IS 'column -> source of its value';

CREATE TABLE merges (
    work_id BIGINT NOT NULL,
    made_from TEXT NOT NULL,
    CONSTRAINT pk_merges PRIMARY KEY (work_id),
    CONSTRAINT fk_merges_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
COMMENT ON TABLE merges IS 'The input of the last merge of each row of enriched_metadata.';
COMMENT ON COLUMN merges.made_from IS 'merge rules and versions of all source rows';

CREATE TABLE ratings (
    user_id TEXT NOT NULL,
    source TEXT NOT NULL,
    work_id BIGINT NOT NULL,
    item_id BIGINT NOT NULL,
    rating FLOAT,
    rated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_ratings PRIMARY KEY (user_id, source, work_id, item_id),
    CONSTRAINT ck_ratings_rating CHECK (rating >= 0 AND rating <= 10),
    CONSTRAINT fk_ratings_user_id FOREIGN KEY(user_id) REFERENCES users (user_id),
    CONSTRAINT fk_ratings_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
COMMENT ON TABLE ratings IS 'Current ratings per user and source. Reading an equal value again keeps its date.';
COMMENT ON COLUMN ratings.source IS 'server: the media server; own: given here; trakt';
COMMENT ON COLUMN ratings.item_id IS 'the rated copy or episode; 0: the work';
COMMENT ON COLUMN ratings.rating IS '0-10; null: removed here or on Trakt, whatever other sources have';
COMMENT ON COLUMN ratings.rated_at IS 'as reported by the source, else when first seen';
COMMENT ON COLUMN ratings.updated_at IS 'of the ratings of a work, the one written last is in force';

CREATE TABLE rating_changes (
    change_id BIGSERIAL NOT NULL,
    user_id TEXT NOT NULL,
    source TEXT NOT NULL,
    work_id BIGINT NOT NULL,
    item_id BIGINT NOT NULL,
    rating FLOAT,
    previous FLOAT,
    rated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    noted_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_rating_changes PRIMARY KEY (change_id),
    CONSTRAINT ck_rating_changes_rating CHECK (rating >= 0 AND rating <= 10),
    CONSTRAINT ck_rating_changes_previous CHECK (previous >= 0 AND previous <= 10),
    CONSTRAINT fk_rating_changes_user_id FOREIGN KEY(user_id) REFERENCES users (user_id),
    CONSTRAINT fk_rating_changes_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
CREATE INDEX ix_rating_changes_user_work ON rating_changes (user_id, work_id);
COMMENT ON TABLE rating_changes IS 'Append-only log of ratings given, changed and removed.';
COMMENT ON COLUMN rating_changes.rating IS 'null: removed';
COMMENT ON COLUMN rating_changes.previous IS 'null: none';
COMMENT ON COLUMN rating_changes.rated_at IS 'of the new value, or when the removal was noticed';

CREATE TABLE trakt_accounts (
    user_id TEXT NOT NULL,
    trakt_user TEXT,
    access_token TEXT NOT NULL,
    refresh_token TEXT NOT NULL,
    issued_at TIMESTAMP WITH TIME ZONE NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    installation_id TEXT NOT NULL,
    state TEXT NOT NULL,
    trouble TEXT,
    activities JSONB,
    read_at TIMESTAMP WITH TIME ZONE,
    connected_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_trakt_accounts PRIMARY KEY (user_id),
    CONSTRAINT ck_trakt_accounts_state CHECK (state IN ('connected', 'reconnect', 'parked')),
    CONSTRAINT fk_trakt_accounts_user_id FOREIGN KEY(user_id) REFERENCES users (user_id)
);
COMMENT ON TABLE trakt_accounts IS 'Users who connected Trakt.';
COMMENT ON COLUMN trakt_accounts.trakt_user IS 'their name on Trakt';
COMMENT ON COLUMN trakt_accounts.access_token IS 'encrypted with APERTURE_SECRET_KEY';
COMMENT ON COLUMN trakt_accounts.refresh_token IS 'encrypted, valid for one use';
COMMENT ON COLUMN trakt_accounts.installation_id IS 'of the installation that connected it';
COMMENT ON COLUMN trakt_accounts.state IS 'reconnect: the user must; parked: the user must act on Trakt';
COMMENT ON COLUMN trakt_accounts.trouble IS 'why it is not connected, as a sentence';
COMMENT ON COLUMN trakt_accounts.activities IS 'Trakt''s last activities as of the last complete read';
COMMENT ON COLUMN trakt_accounts.read_at IS 'when the ratings were last read completely';

CREATE TABLE trakt_ratings (
    user_id TEXT NOT NULL,
    work_id BIGINT NOT NULL,
    media_type TEXT NOT NULL,
    rating SMALLINT NOT NULL,
    rated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    trakt_id BIGINT,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_trakt_ratings PRIMARY KEY (user_id, work_id),
    CONSTRAINT ck_trakt_ratings_media_type CHECK (media_type IN ('movie', 'series')),
    CONSTRAINT ck_trakt_ratings_rating CHECK (rating >= 1 AND rating <= 10),
    CONSTRAINT fk_trakt_ratings_user_id FOREIGN KEY(user_id) REFERENCES users (user_id),
    CONSTRAINT fk_trakt_ratings_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
COMMENT ON TABLE trakt_ratings IS 'The ratings of films and series on which this installation and Trakt agreed last.';
COMMENT ON COLUMN trakt_ratings.rating IS '1-10';
COMMENT ON COLUMN trakt_ratings.rated_at IS 'as Trakt reports it';

CREATE TABLE rating_outbox (
    user_id TEXT NOT NULL,
    work_id BIGINT NOT NULL,
    rating SMALLINT,
    rated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    queued_at TIMESTAMP WITH TIME ZONE NOT NULL,
    attempts SMALLINT DEFAULT 0 NOT NULL,
    attempted_at TIMESTAMP WITH TIME ZONE,
    due_at TIMESTAMP WITH TIME ZONE NOT NULL,
    detail TEXT,
    CONSTRAINT pk_rating_outbox PRIMARY KEY (user_id, work_id),
    CONSTRAINT ck_rating_outbox_rating CHECK (rating >= 1 AND rating <= 10),
    CONSTRAINT ck_rating_outbox_attempts CHECK (attempts >= 0),
    CONSTRAINT fk_rating_outbox_user_id FOREIGN KEY(user_id) REFERENCES users (user_id),
    CONSTRAINT fk_rating_outbox_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
COMMENT ON TABLE rating_outbox IS 'Ratings that Trakt has not confirmed yet.';
COMMENT ON COLUMN rating_outbox.rating IS '1-10; null: remove it';
COMMENT ON COLUMN rating_outbox.rated_at IS 'sent along, so that a repetition changes nothing';
COMMENT ON COLUMN rating_outbox.detail IS 'why it still waits';

CREATE TABLE rating_removals (
    user_id TEXT NOT NULL,
    work_id BIGINT NOT NULL,
    removed_on TEXT NOT NULL,
    had INTEGER NOT NULL,
    noticed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    passed_at TIMESTAMP WITH TIME ZONE,
    accepted_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_rating_removals PRIMARY KEY (user_id, work_id),
    CONSTRAINT ck_rating_removals_removed_on CHECK (removed_on IN ('here', 'trakt')),
    CONSTRAINT ck_rating_removals_had CHECK (had >= 0),
    CONSTRAINT fk_rating_removals_user_id FOREIGN KEY(user_id) REFERENCES users (user_id),
    CONSTRAINT fk_rating_removals_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
COMMENT ON TABLE rating_removals IS 'Ratings in step with Trakt that were removed on one side: those removed on the other, too, and those held back.';
COMMENT ON COLUMN rating_removals.removed_on IS 'here, trakt: the side that the removal comes from';
COMMENT ON COLUMN rating_removals.had IS 'ratings of the user that were in step before';
COMMENT ON COLUMN rating_removals.passed_at IS 'when it was decided to remove it on the other side, too; null: held back';
COMMENT ON COLUMN rating_removals.accepted_at IS 'by the operator; those that were removed by then no longer count';

CREATE TABLE embeddings (
    model_key TEXT NOT NULL,
    work_id BIGINT NOT NULL,
    text_hash TEXT NOT NULL,
    vector BYTEA NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_embeddings PRIMARY KEY (model_key, work_id),
    CONSTRAINT fk_embeddings_model_key FOREIGN KEY(model_key) REFERENCES embedding_models (model_key),
    CONSTRAINT fk_embeddings_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
COMMENT ON TABLE embeddings IS 'One vector per model and work, with the hash of its text.';
COMMENT ON COLUMN embeddings.vector IS 'float16, little-endian';

CREATE TABLE taste_profiles (
    user_id TEXT NOT NULL,
    media_type TEXT NOT NULL,
    titles INTEGER NOT NULL,
    liked INTEGER NOT NULL,
    disliked INTEGER NOT NULL,
    summary JSONB NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_taste_profiles PRIMARY KEY (user_id, media_type),
    CONSTRAINT ck_taste_profiles_media_type CHECK (media_type IN ('movie', 'series')),
    CONSTRAINT ck_taste_profiles_titles CHECK (titles >= 0),
    CONSTRAINT ck_taste_profiles_liked CHECK (liked >= 0),
    CONSTRAINT ck_taste_profiles_disliked CHECK (disliked >= 0),
    CONSTRAINT fk_taste_profiles_user_id FOREIGN KEY(user_id) REFERENCES users (user_id)
);
COMMENT ON TABLE taste_profiles IS 'The taste of a user, per media type.';
COMMENT ON COLUMN taste_profiles.titles IS 'titles that the taste is based on';
COMMENT ON COLUMN taste_profiles.summary IS 'distinctive genres and keywords, and a sentence';

CREATE TABLE taste_weights (
    user_id TEXT NOT NULL,
    work_id BIGINT NOT NULL,
    media_type TEXT NOT NULL,
    weight REAL NOT NULL,
    CONSTRAINT pk_taste_weights PRIMARY KEY (user_id, work_id),
    CONSTRAINT ck_taste_weights_media_type CHECK (media_type IN ('movie', 'series')),
    CONSTRAINT ck_taste_weights_weight CHECK (weight >= -10 AND weight <= 10),
    CONSTRAINT fk_taste_weights_user_id FOREIGN KEY(user_id) REFERENCES users (user_id),
    CONSTRAINT fk_taste_weights_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
CREATE INDEX ix_taste_weights_media_type ON taste_weights (media_type);
COMMENT ON TABLE taste_weights IS 'Weight of each work in a user''s history, positive or negative.';
COMMENT ON COLUMN taste_weights.weight IS 'positive: liked, negative: disliked';

CREATE TABLE more_like_this (
    user_id TEXT NOT NULL,
    work_id BIGINT NOT NULL,
    title TEXT NOT NULL,
    asked_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_more_like_this PRIMARY KEY (user_id, work_id),
    CONSTRAINT fk_more_like_this_user_id FOREIGN KEY(user_id) REFERENCES users (user_id),
    CONSTRAINT fk_more_like_this_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
COMMENT ON TABLE more_like_this IS 'Titles of which a user asked for more like them.';
COMMENT ON COLUMN more_like_this.title IS 'as it was called then';

CREATE TABLE recommendations (
    user_id TEXT NOT NULL,
    media_type TEXT NOT NULL,
    rank SMALLINT NOT NULL,
    work_id BIGINT NOT NULL,
    item_id BIGINT NOT NULL,
    score REAL NOT NULL,
    components JSONB NOT NULL,
    because BIGINT[] NOT NULL,
    is_cold BOOLEAN NOT NULL,
    listed_since DATE NOT NULL,
    generated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_recommendations PRIMARY KEY (user_id, media_type, rank),
    CONSTRAINT ck_recommendations_media_type CHECK (media_type IN ('movie', 'series')),
    CONSTRAINT ck_recommendations_rank CHECK (rank >= 1),
    CONSTRAINT uq_recommendations_user_id_work_id UNIQUE (user_id, work_id),
    CONSTRAINT fk_recommendations_user_id FOREIGN KEY(user_id) REFERENCES users (user_id),
    CONSTRAINT fk_recommendations_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
COMMENT ON TABLE recommendations IS 'The current list of each user, replaced as a whole.';
COMMENT ON COLUMN recommendations.item_id IS 'the copy to play';
COMMENT ON COLUMN recommendations.components IS 'components of the score';
COMMENT ON COLUMN recommendations.because IS 'the most similar works in the history';
COMMENT ON COLUMN recommendations.is_cold IS 'too little history: based on popularity';
COMMENT ON COLUMN recommendations.listed_since IS 'the first of the days on which it has been on the list without a break';

CREATE TABLE past_picks (
    user_id TEXT NOT NULL,
    work_id BIGINT NOT NULL,
    left_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    listed_since DATE NOT NULL,
    CONSTRAINT pk_past_picks PRIMARY KEY (user_id, work_id, left_at),
    CONSTRAINT fk_past_picks_user_id FOREIGN KEY(user_id) REFERENCES users (user_id),
    CONSTRAINT fk_past_picks_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
COMMENT ON TABLE past_picks IS 'Titles that left the list of a user, and how long they had been on it.';

CREATE TABLE first_places (
    user_id TEXT NOT NULL,
    work_id BIGINT NOT NULL,
    media_type TEXT NOT NULL,
    since DATE NOT NULL,
    rests_from DATE,
    CONSTRAINT pk_first_places PRIMARY KEY (user_id, work_id),
    CONSTRAINT ck_first_places_media_type CHECK (media_type IN ('movie', 'series')),
    CONSTRAINT fk_first_places_user_id FOREIGN KEY(user_id) REFERENCES users (user_id),
    CONSTRAINT fk_first_places_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
COMMENT ON TABLE first_places IS 'Titles at the top of the list of each user, and those that rest after having been there.';
COMMENT ON COLUMN first_places.since IS 'the day on which it came to the top of the list';
COMMENT ON COLUMN first_places.rests_from IS 'the day from which it rests; null while it is at the top';

CREATE TABLE computations (
    user_id TEXT NOT NULL,
    result TEXT NOT NULL,
    made_from TEXT NOT NULL,
    version TEXT NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_computations PRIMARY KEY (user_id, result),
    CONSTRAINT ck_computations_result CHECK (result IN ('taste_profiles', 'recommendations')),
    CONSTRAINT fk_computations_user_id FOREIGN KEY(user_id) REFERENCES users (user_id)
);
COMMENT ON TABLE computations IS 'The last computation of each user''s taste and list: with equal inputs there is no other.';
COMMENT ON COLUMN computations.result IS 'taste_profiles, recommendations';
COMMENT ON COLUMN computations.made_from IS 'a version of all inputs';
COMMENT ON COLUMN computations.version IS 'a hash of the rows that were made';

CREATE TABLE top_picks (
    day DATE NOT NULL,
    media_type TEXT NOT NULL,
    rank SMALLINT NOT NULL,
    work_id BIGINT NOT NULL,
    item_id BIGINT NOT NULL,
    viewers INTEGER NOT NULL,
    plays INTEGER NOT NULL,
    completion REAL NOT NULL,
    score REAL NOT NULL,
    relaxed BOOLEAN NOT NULL,
    source TEXT NOT NULL,
    generated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_top_picks PRIMARY KEY (day, media_type, rank),
    CONSTRAINT ck_top_picks_media_type CHECK (media_type IN ('movie', 'series')),
    CONSTRAINT ck_top_picks_rank CHECK (rank >= 1),
    CONSTRAINT ck_top_picks_source CHECK (source IN ('local', 'mdblist', 'tmdb', 'hybrid')),
    CONSTRAINT ck_top_picks_viewers CHECK (viewers >= 0),
    CONSTRAINT ck_top_picks_plays CHECK (plays >= 0),
    CONSTRAINT ck_top_picks_completion CHECK (completion >= 0 AND completion <= 1),
    CONSTRAINT ck_top_picks_score CHECK (score >= 0 AND score <= 1),
    CONSTRAINT uq_top_picks_day_media_type_work_id UNIQUE (day, media_type, work_id),
    CONSTRAINT fk_top_picks_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
COMMENT ON TABLE top_picks IS 'The most popular titles of the household, one list per day.';
COMMENT ON COLUMN top_picks.relaxed IS 'the minimum number of viewers was lowered to fill the list';
COMMENT ON COLUMN top_picks.source IS 'what the list was made from';

CREATE TABLE shows_you_watch (
    user_id TEXT NOT NULL,
    work_id BIGINT NOT NULL,
    rank SMALLINT NOT NULL,
    item_id BIGINT NOT NULL,
    episodes_played INTEGER NOT NULL,
    episodes_out INTEGER NOT NULL,
    next_item_id BIGINT,
    next_season INTEGER,
    next_number INTEGER,
    next_title TEXT,
    behind INTEGER NOT NULL,
    next_air_date DATE,
    last_played_at TIMESTAMP WITH TIME ZONE,
    listed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_shows_you_watch PRIMARY KEY (user_id, work_id),
    CONSTRAINT ck_shows_you_watch_rank CHECK (rank >= 1),
    CONSTRAINT ck_shows_you_watch_episodes_played CHECK (episodes_played >= 0),
    CONSTRAINT ck_shows_you_watch_episodes_out CHECK (episodes_out >= 0),
    CONSTRAINT ck_shows_you_watch_behind CHECK (behind >= 0),
    CONSTRAINT fk_shows_you_watch_user_id FOREIGN KEY(user_id) REFERENCES users (user_id),
    CONSTRAINT fk_shows_you_watch_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
COMMENT ON TABLE shows_you_watch IS 'The series that each user is watching, and where they are in it.';
COMMENT ON COLUMN shows_you_watch.rank IS 'by last activity, 1 is the latest';
COMMENT ON COLUMN shows_you_watch.item_id IS 'the copy of the series to play';
COMMENT ON COLUMN shows_you_watch.episodes_played IS 'of episodes_out';
COMMENT ON COLUMN shows_you_watch.episodes_out IS 'in the library and aired, or played';
COMMENT ON COLUMN shows_you_watch.next_item_id IS 'the next episode to watch; null: none in the library';
COMMENT ON COLUMN shows_you_watch.behind IS 'aired episodes to watch, from the next one on';
COMMENT ON COLUMN shows_you_watch.next_air_date IS 'of the next episode to air; null: unknown';
COMMENT ON COLUMN shows_you_watch.last_played_at IS 'null: unknown';
COMMENT ON COLUMN shows_you_watch.listed_at IS 'kept while it is listed';

CREATE TABLE newsletters (
    user_id TEXT NOT NULL,
    week DATE NOT NULL,
    begun_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_newsletters PRIMARY KEY (user_id, week),
    CONSTRAINT fk_newsletters_user_id FOREIGN KEY(user_id) REFERENCES users (user_id)
);
COMMENT ON TABLE newsletters IS 'Letters that were sent, or were being sent when the run ended.';
COMMENT ON COLUMN newsletters.week IS 'its Monday, in the operator''s time zone';
COMMENT ON COLUMN newsletters.begun_at IS 'noted before it is sent, so that it is never sent twice';

CREATE TABLE published_entries (
    list_key TEXT NOT NULL,
    entry_id TEXT NOT NULL,
    work_id BIGINT,
    folder TEXT NOT NULL,
    rank SMALLINT NOT NULL,
    state TEXT NOT NULL,
    date_added TIMESTAMP WITH TIME ZONE NOT NULL,
    nfo_changed_at TIMESTAMP WITH TIME ZONE,
    files JSONB NOT NULL,
    because BIGINT[] NOT NULL,
    CONSTRAINT pk_published_entries PRIMARY KEY (list_key, entry_id),
    CONSTRAINT ck_published_entries_state CHECK (state IN ('planned', 'placed', 'leaving')),
    CONSTRAINT ck_published_entries_rank CHECK (rank >= 1),
    CONSTRAINT fk_published_entries_list_key FOREIGN KEY(list_key) REFERENCES published_libraries (list_key),
    CONSTRAINT fk_published_entries_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
COMMENT ON TABLE published_entries IS 'Titles in published libraries, with every file that was or may have been placed.';
COMMENT ON COLUMN published_entries.entry_id IS 'also at the end of the folder''s name, and in the NFO';
COMMENT ON COLUMN published_entries.work_id IS 'null: found on disk, as after a restore';
COMMENT ON COLUMN published_entries.folder IS 'below the library''s folder';
COMMENT ON COLUMN published_entries.state IS 'planned: files may be there; placed: they are; leaving: may be';
COMMENT ON COLUMN published_entries.date_added IS 'as the server shows it; kept while the entry stays';
COMMENT ON COLUMN published_entries.nfo_changed_at IS 'when an NFO was last replaced; null: not since it was placed';
COMMENT ON COLUMN published_entries.files IS 'path below the folder -> kind, digest, size, mtime, item';
COMMENT ON COLUMN published_entries.because IS 'the works that its reason names on the server';

CREATE TABLE published_copies (
    server_item_id TEXT NOT NULL,
    list_key TEXT NOT NULL,
    CONSTRAINT pk_published_copies PRIMARY KEY (server_item_id),
    CONSTRAINT fk_published_copies_list_key FOREIGN KEY(list_key) REFERENCES published_libraries (list_key) ON DELETE CASCADE
);
CREATE INDEX ix_published_copies_list_key ON published_copies (list_key);
COMMENT ON TABLE published_copies IS 'Titles and episodes that published libraries show, by their ids on the media server, as long as they do. item_versions says which originals they are copies of.';

CREATE TABLE shared_states (
    user_id TEXT NOT NULL,
    copy_id TEXT NOT NULL,
    original_id TEXT NOT NULL,
    original JSONB,
    copy JSONB,
    pending JSONB,
    CONSTRAINT pk_shared_states PRIMARY KEY (user_id, copy_id),
    CONSTRAINT fk_shared_states_user_id FOREIGN KEY(user_id) REFERENCES users (user_id),
    CONSTRAINT fk_shared_states_copy_id FOREIGN KEY(copy_id) REFERENCES item_versions (server_item_id) ON DELETE CASCADE
);
CREATE INDEX ix_shared_states_copy_id ON shared_states (copy_id);
COMMENT ON TABLE shared_states IS 'The watch states of users in which originals and published copies last agreed, also of copies that left.';
COMMENT ON COLUMN shared_states.copy_id IS 'its id on the media server';
COMMENT ON COLUMN shared_states.original_id IS 'the same of the original';
COMMENT ON COLUMN shared_states.original IS 'played, position as a share, last played, favourite; null: they never agreed, or not since the copy returned to its list';
COMMENT ON COLUMN shared_states.copy IS 'the same of the copy, or that in which it left its list';
COMMENT ON COLUMN shared_states.pending IS 'what is being written: both states, and to which of the two; null: nothing';

CREATE TABLE episodes (
    item_id BIGINT NOT NULL,
    series_item_id BIGINT NOT NULL,
    work_id BIGINT NOT NULL,
    server_item_id TEXT,
    library_id TEXT NOT NULL,
    season INTEGER,
    number INTEGER,
    number_end INTEGER,
    title TEXT NOT NULL,
    air_date DATE,
    runtime_minutes INTEGER,
    path TEXT,
    first_seen_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    removed_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_episodes PRIMARY KEY (item_id),
    CONSTRAINT ck_episodes_has_server_id CHECK (server_item_id IS NOT NULL OR removed_at IS NOT NULL),
    CONSTRAINT fk_episodes_series_item_id FOREIGN KEY(series_item_id) REFERENCES titles (item_id),
    CONSTRAINT fk_episodes_work_id FOREIGN KEY(work_id) REFERENCES works (work_id),
    CONSTRAINT uq_episodes_server_item_id UNIQUE (server_item_id)
);
CREATE INDEX ix_episodes_series_item_id ON episodes (series_item_id, season, number);
CREATE INDEX ix_episodes_work_id ON episodes (work_id);
COMMENT ON TABLE episodes IS 'One row per episode item on the media server; removed_at is its tombstone. Never deleted.';
COMMENT ON COLUMN episodes.server_item_id IS 'null if the server has given it to another item';
CREATE VIEW present_titles AS SELECT * FROM titles WHERE removed_at IS NULL;
CREATE VIEW present_episodes AS SELECT * FROM episodes WHERE removed_at IS NULL;
CREATE VIEW present_users AS SELECT * FROM users WHERE removed_at IS NULL;
CREATE VIEW work_copies AS SELECT w.work_id, c.item_id, c.media_type, c.server_item_id, c.library_id, c.title, c.original_title, c.sort_title, c.year, c.premiere_date, c.overview, c.tagline, c.genres, c.tags, c.studios, c.official_rating, c.community_rating, c.critic_rating, c.runtime_minutes, c.status, c.path, c.tmdb_id, c.imdb_id, c.tvdb_id, c.added_at, c.picture_tag, c.first_seen_at, c.updated_at, c.removed_at FROM works w CROSS JOIN LATERAL (SELECT * FROM titles t WHERE t.work_id = w.work_id ORDER BY removed_at IS NOT NULL, item_id LIMIT 1) c;
CREATE VIEW work_ids AS SELECT w.work_id, w.media_type, coalesce(w.tmdb_id, m.tmdb_id) AS tmdb_id, coalesce(w.imdb_id, m.imdb_id) AS imdb_id, coalesce(w.tvdb_id, m.tvdb_id) AS tvdb_id FROM works w LEFT JOIN tmdb_metadata m USING (work_id);
CREATE VIEW work_names AS SELECT w.work_id, coalesce(e.title, c.title) AS title, coalesce(e.year, c.year) AS year, coalesce(e.tmdb_id, c.tmdb_id) AS tmdb_id, coalesce(e.imdb_id, c.imdb_id) AS imdb_id FROM works w LEFT JOIN enriched_metadata e USING (work_id) LEFT JOIN work_copies c USING (work_id);
CREATE VIEW hidden_works AS SELECT user_id, work_id FROM dismissals UNION SELECT c.user_id, g.work_id FROM member_choices c JOIN (SELECT t.work_id, coalesce(e.genres, t.genres) AS genres FROM present_titles t LEFT JOIN enriched_metadata e USING (work_id) UNION ALL SELECT work_id, genres FROM discovery_pool) g ON g.genres && c.excluded_genres;
CREATE VIEW items AS SELECT server_item_id, item_id, item_id AS logged_as, work_id, false AS is_episode, NULL::int AS season, NULL::int AS number, title AS name, NULL::text AS series_name, removed_at, false AS is_version, false AS is_published FROM titles UNION ALL SELECT e.server_item_id, e.item_id, e.item_id, e.work_id, true, e.season, e.number, e.title, s.title, e.removed_at, false, false FROM episodes e JOIN titles s ON s.item_id = e.series_item_id UNION ALL SELECT v.server_item_id, v.item_id, v.primary_item_id, t.work_id, false, NULL, NULL, NULL, NULL, t.removed_at, true, v.is_published FROM item_versions v JOIN titles t ON t.item_id = v.primary_item_id UNION ALL SELECT v.server_item_id, v.item_id, v.primary_item_id, e.work_id, true, e.season, e.number, NULL, NULL, e.removed_at, true, v.is_published FROM item_versions v JOIN episodes e ON e.item_id = v.primary_item_id;
