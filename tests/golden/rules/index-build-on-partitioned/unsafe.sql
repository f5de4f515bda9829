SET lock_timeout = '2s';
CREATE INDEX events_at ON events (at);
