-- Texts of random words, which compress like prose.
CREATE FUNCTION pg_temp.words(number int) RETURNS text LANGUAGE sql VOLATILE AS
$$ SELECT string_agg(substr(md5((random() * 2000)::int::text), 1, 3 + n % 8), ' ') FROM generate_series(1, number) n $$;
CREATE FUNCTION pg_temp.vector() RETURNS bytea LANGUAGE sql VOLATILE AS
$$ SELECT string_agg(uuid_send(gen_random_uuid()), '') FROM generate_series(1, 48) $$;

INSERT INTO works (media_type, tmdb_id, imdb_id)
SELECT CASE WHEN i <= :movies THEN 'movie' ELSE 'series' END, i, 'tt' || i FROM generate_series(1, :movies + :series) i;

INSERT INTO libraries (library_id, name, collection_type) VALUES ('library', 'Library', 'mixed');

INSERT INTO titles (item_id, work_id, media_type, server_item_id, library_id, title, year, overview, genres, tags,
    studios, path, tmdb_id, imdb_id, added_at)
SELECT nextval('item_id_seq'), work_id, media_type, md5(work_id::text), 'library', pg_temp.words(3), 1990,
    pg_temp.words(60), '{Drama,Comedy}', '{}', '{A Studio}', '/media/' || md5(work_id::text) || '.mkv', tmdb_id, imdb_id,
    now() - work_id * interval '1 minute'
FROM works ORDER BY work_id;

INSERT INTO episodes (item_id, series_item_id, work_id, server_item_id, library_id, season, number, title, air_date,
    runtime_minutes, path)
SELECT nextval('item_id_seq'), item_id, work_id, md5(item_id || 'e' || i), 'library', i / 10, i % 10, pg_temp.words(3),
    '2020-01-01', 45, '/media/' || md5(item_id || 'e' || i) || '.mkv'
FROM titles, generate_series(1, :per_series) i WHERE media_type = 'series';

INSERT INTO tmdb_metadata (work_id, tmdb_id, overview, genres, keywords, "cast", directors, creators, writers,
    companies, networks, countries, original_language, recommended_tmdb_ids, similar_tmdb_ids)
SELECT work_id, tmdb_id, pg_temp.words(60), '{Drama}', string_to_array(pg_temp.words(15), ' '),
    (SELECT jsonb_agg(jsonb_build_object('id', n, 'name', md5(n::text), 'character', md5((n + work_id)::text)))
        FROM generate_series(1, 15) n),
    '{Somebody}', '{}', '{Somebody}', '[]', '[]', '{US}', 'en',
    ARRAY(SELECT work_id + n FROM generate_series(1, 20) n), ARRAY(SELECT work_id + n FROM generate_series(5, 24) n)
FROM works;

INSERT INTO enriched_metadata (work_id, media_type, title, overview, genres, keywords, "cast", directors, creators,
    companies, networks, countries, streams, sources)
SELECT work_id, media_type, pg_temp.words(3), pg_temp.words(60), '{Drama}', string_to_array(pg_temp.words(15), ' '),
    '{A,B,C}', '{D}', '{}', '{}', '{}', '{US}', '{}', '{"title": "tmdb"}'
FROM works;

INSERT INTO fetches (source, kind, item, outcome, attempts, due_at)
SELECT source, media_type, work_id, 'ok', 1, now() FROM works, unnest(ARRAY['tmdb', 'omdb', 'mdblist']) source;

INSERT INTO embedding_models (model_key, dimensions, activated_at) VALUES ('model', 384, now());

INSERT INTO embeddings (model_key, work_id, text_hash, vector)
SELECT 'model', work_id, md5(work_id::text), pg_temp.vector() FROM works;

INSERT INTO users (user_id, partition_key, name, is_administrator, is_hidden, is_disabled, all_libraries, library_ids,
    blocked_tags, allowed_tags, open_library_ids, excluded_folders)
SELECT 'user' || i, 'user' || i, 'User ' || i, false, false, false, true, '{}', '{}', '{}', '{}', '{}'
FROM generate_series(1, :users) i;

INSERT INTO watch_state (user_id, item_id, work_id, is_episode, played, play_count, position_share, favorite,
    last_played_at)
SELECT user_id, item_id, work_id, is_episode, true, 1, 1, false, now()
FROM users, items WHERE random() < CAST(:share AS float8);

INSERT INTO plays (user_id, item_id, played_at, work_id, is_episode, play_count, completion)
SELECT user_id, item_id, now() - random() * interval '900 days', work_id, is_episode, 1, 1 FROM watch_state;

INSERT INTO ratings (user_id, source, work_id, item_id, rating, rated_at)
SELECT user_id, 'trakt', work_id, item_id, 8, now() FROM watch_state WHERE random() < 0.1;

INSERT INTO taste_weights (user_id, work_id, media_type, weight)
SELECT user_id, work_id, media_type, random() FROM users, works WHERE work_id <= 500;

INSERT INTO recommendations (user_id, media_type, rank, work_id, item_id, score, components, because, is_cold,
  listed_since)
SELECT user_id, 'movie', i, i, i, random(), '{"similarity": 0.5, "crowd": 0.25, "rating": 0.7}', '{1,2,3}', false, CURRENT_DATE
FROM users, generate_series(1, 50) i;
