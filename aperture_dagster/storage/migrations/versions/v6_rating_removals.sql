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
