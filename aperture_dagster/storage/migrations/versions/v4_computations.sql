CREATE TABLE computations (
    user_id TEXT NOT NULL,
    result TEXT NOT NULL,
    made_from JSONB NOT NULL,
    version TEXT NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_computations PRIMARY KEY (user_id, result),
    CONSTRAINT ck_computations_result CHECK (result IN ('taste_profiles', 'recommendations')),
    CONSTRAINT fk_computations_user_id FOREIGN KEY(user_id) REFERENCES users (user_id)
);
COMMENT ON TABLE computations IS 'The inputs of the last computation of each user''s taste and list: with equal ones there is none.';
COMMENT ON COLUMN computations.result IS 'taste_profiles, recommendations';
COMMENT ON COLUMN computations.made_from IS 'a hash of each input, by its name';
COMMENT ON COLUMN computations.version IS 'a hash of the rows that were made';
