-- crossfade-lint: ignore index-dropped: nothing reads by it
DROP INDEX CONCURRENTLY accounts_email;
