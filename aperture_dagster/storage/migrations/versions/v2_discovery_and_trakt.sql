ALTER TABLE ratings ALTER COLUMN rating DROP NOT NULL;
ALTER TABLE ratings ADD COLUMN updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL;
COMMENT ON COLUMN ratings.source IS 'server: the media server; own: given here; trakt';
COMMENT ON COLUMN ratings.rating IS '0-10; null: removed here or on Trakt, whatever other sources have';
COMMENT ON COLUMN ratings.updated_at IS 'of the ratings of a work, the one written last is in force';

ALTER TABLE tmdb_metadata ADD COLUMN trait_ids JSONB;
COMMENT ON COLUMN tmdb_metadata.trait_ids IS 'ids on TMDb: {genres, keywords, people: {name: id}}; null: not fetched since then';
-- They are not known until a title is fetched again, and discovery asks for lists by them.
UPDATE fetches SET due_at = least(due_at, now() + random() * interval '7 days')
WHERE source = 'tmdb' AND kind IN ('movie', 'series') AND outcome = 'ok';

CREATE TABLE discovery_pool (
    work_id BIGINT NOT NULL,
    media_type TEXT NOT NULL,
    tmdb_id BIGINT NOT NULL,
    wanted_at TIMESTAMP WITH TIME ZONE NOT NULL,
    priority INTEGER NOT NULL,
    fetched_at TIMESTAMP WITH TIME ZONE,
    imdb_id TEXT,
    tvdb_id BIGINT,
    title TEXT,
    original_title TEXT,
    overview TEXT,
    tagline TEXT,
    status TEXT,
    release_date DATE,
    runtime_minutes INTEGER,
    seasons SMALLINT,
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
    CONSTRAINT ck_discovery_pool_priority CHECK (priority >= 0),
    CONSTRAINT uq_discovery_pool_media_type_tmdb_id UNIQUE (media_type, tmdb_id),
    CONSTRAINT fk_discovery_pool_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
COMMENT ON TABLE discovery_pool IS 'Titles that are not in the library and were suggested to somebody, with details from TMDb.';
COMMENT ON COLUMN discovery_pool.wanted_at IS 'when it was last suggested to anybody';
COMMENT ON COLUMN discovery_pool.priority IS 'order in which details are requested; 0: the first';
COMMENT ON COLUMN discovery_pool.fetched_at IS 'when the columns below were requested; null: not yet';
COMMENT ON COLUMN discovery_pool.seasons IS 'of a series, without specials';
COMMENT ON COLUMN discovery_pool.certifications IS 'country -> certifications, without empty ones';
COMMENT ON COLUMN discovery_pool.releases IS 'of a film: country -> {theatrical, digital, physical, tv: first date}';
COMMENT ON COLUMN discovery_pool.providers IS 'country -> {flatrate, free, ads, rent, buy: names}; from JustWatch';

CREATE TABLE discovery_vectors (
    model_key TEXT NOT NULL,
    work_id BIGINT NOT NULL,
    text_hash TEXT NOT NULL,
    vector HALFVEC NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_discovery_vectors PRIMARY KEY (model_key, work_id),
    CONSTRAINT fk_discovery_vectors_model_key FOREIGN KEY(model_key) REFERENCES embedding_models (model_key),
    CONSTRAINT fk_discovery_vectors_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
COMMENT ON TABLE discovery_vectors IS 'One vector per model and title of the pool, made by the recipe of the library''s.';

CREATE TABLE discovery_lists (
    request TEXT NOT NULL,
    media_type TEXT NOT NULL,
    entries JSONB NOT NULL,
    read_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_discovery_lists PRIMARY KEY (request),
    CONSTRAINT ck_discovery_lists_media_type CHECK (media_type IN ('movie', 'series'))
);
COMMENT ON TABLE discovery_lists IS 'Lists of titles that services returned, so that no run asks twice a day.';
COMMENT ON COLUMN discovery_lists.request IS 'such as movie/603/recommendations/2';
COMMENT ON COLUMN discovery_lists.entries IS 'in the list''s order, as far as the service tells';

CREATE TABLE discovery_suggestions (
    user_id TEXT NOT NULL,
    work_id BIGINT NOT NULL,
    source TEXT NOT NULL,
    seed TEXT NOT NULL,
    rank SMALLINT NOT NULL,
    CONSTRAINT pk_discovery_suggestions PRIMARY KEY (user_id, work_id, source, seed),
    CONSTRAINT ck_discovery_suggestions_source CHECK (source IN ('recommendations', 'discover', 'trakt')),
    CONSTRAINT ck_discovery_suggestions_rank CHECK (rank >= 1),
    CONSTRAINT fk_discovery_suggestions_user_id FOREIGN KEY(user_id) REFERENCES users (user_id),
    CONSTRAINT fk_discovery_suggestions_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
COMMENT ON TABLE discovery_suggestions IS 'Which list suggested which title of the pool to whom, and because of what.';
COMMENT ON COLUMN discovery_suggestions.source IS 'recommendations, discover, trakt';
COMMENT ON COLUMN discovery_suggestions.seed IS 'the liked work''s id, a trait such as genre:Drama, or empty';
COMMENT ON COLUMN discovery_suggestions.rank IS 'in that list, from 1 on';

CREATE TABLE discovery_candidates (
    user_id TEXT NOT NULL,
    media_type TEXT NOT NULL,
    rank SMALLINT NOT NULL,
    work_id BIGINT NOT NULL,
    score REAL NOT NULL,
    components JSONB NOT NULL,
    because BIGINT[] NOT NULL,
    suggested_by TEXT[] NOT NULL,
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
COMMENT ON COLUMN discovery_candidates.suggested_by IS 'sources, and traits such as genre:Drama';
COMMENT ON COLUMN discovery_candidates.listed_since IS 'the first of the days on which it has been on the list without a break';

CREATE TABLE household_candidates (
    media_type TEXT NOT NULL,
    rank SMALLINT NOT NULL,
    work_id BIGINT NOT NULL,
    score REAL NOT NULL,
    user_ids TEXT[] NOT NULL,
    generated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_household_candidates PRIMARY KEY (media_type, rank),
    CONSTRAINT ck_household_candidates_media_type CHECK (media_type IN ('movie', 'series')),
    CONSTRAINT ck_household_candidates_rank CHECK (rank >= 1),
    CONSTRAINT uq_household_candidates_work_id UNIQUE (work_id),
    CONSTRAINT fk_household_candidates_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
COMMENT ON TABLE household_candidates IS 'The titles outside the library that would please most people of the household.';
COMMENT ON COLUMN household_candidates.score IS '0-1';
COMMENT ON COLUMN household_candidates.user_ids IS 'whom it would please, most of all first';

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
    is_automatic BOOLEAN NOT NULL,
    requested_at TIMESTAMP WITH TIME ZONE NOT NULL,
    read_at TIMESTAMP WITH TIME ZONE,
    detail TEXT,
    CONSTRAINT pk_seerr_requests PRIMARY KEY (user_id, work_id),
    CONSTRAINT ck_seerr_requests_media_type CHECK (media_type IN ('movie', 'series')),
    CONSTRAINT ck_seerr_requests_state CHECK (state IN ('sending', 'pending', 'approved', 'declined', 'failed', 'completed', 'available', 'refused', 'misattributed')),
    CONSTRAINT fk_seerr_requests_user_id FOREIGN KEY(user_id) REFERENCES users (user_id),
    CONSTRAINT fk_seerr_requests_work_id FOREIGN KEY(work_id) REFERENCES works (work_id)
);
COMMENT ON TABLE seerr_requests IS 'Requests sent to Seerr for a user, and what became of them. Never deleted: none is sent twice.';
COMMENT ON COLUMN seerr_requests.request_id IS 'on Seerr; null: not confirmed';
COMMENT ON COLUMN seerr_requests.state IS 'sending: the answer is not known yet; misattributed: made as somebody else; else what Seerr says';
COMMENT ON COLUMN seerr_requests.seasons IS 'requested, of a series';
COMMENT ON COLUMN seerr_requests.is_automatic IS 'sent by the job, not by a command';
COMMENT ON COLUMN seerr_requests.read_at IS 'since when Seerr is known to say so';
COMMENT ON COLUMN seerr_requests.detail IS 'Seerr''s words';

CREATE TABLE trakt_accounts (
    user_id TEXT NOT NULL,
    trakt_user TEXT,
    is_vip BOOLEAN,
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
COMMENT ON COLUMN trakt_accounts.is_vip IS 'as Trakt said when last asked';
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

CREATE TABLE server_rating_writes (
    user_id TEXT NOT NULL,
    item_id BIGINT NOT NULL,
    rating SMALLINT,
    rated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    in_force_since TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_server_rating_writes PRIMARY KEY (user_id, item_id),
    CONSTRAINT ck_server_rating_writes_rating CHECK (rating >= 1 AND rating <= 10),
    CONSTRAINT fk_server_rating_writes_user_id FOREIGN KEY(user_id) REFERENCES users (user_id)
);
COMMENT ON TABLE server_rating_writes IS 'Ratings that are being written to the media server: what it reports of them was not given there.';
COMMENT ON COLUMN server_rating_writes.rating IS '1-10; null: removed';
COMMENT ON COLUMN server_rating_writes.rated_at IS 'of the rating that is copied';
COMMENT ON COLUMN server_rating_writes.in_force_since IS 'ratings.updated_at of the rating that is copied';

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
