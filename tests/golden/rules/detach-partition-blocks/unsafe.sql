SET lock_timeout = '2s';
-- crossfade-lint: ignore several-exclusive-locks: both are needed
ALTER TABLE events DETACH PARTITION events_1;
