SET lock_timeout = '2s';
-- crossfade-lint: ignore index-dropped: nothing reads by it
DROP INDEX accounts_email;
