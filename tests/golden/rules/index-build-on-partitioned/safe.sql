SET lock_timeout = '2s';
CREATE INDEX events_at ON ONLY events (at);
RESET lock_timeout;
-- next file
CREATE INDEX CONCURRENTLY events_1_at_idx ON events_1 (at);
-- next file
ALTER INDEX events_at ATTACH PARTITION events_1_at_idx;
