SET lock_timeout = '2s';
-- crossfade-lint: ignore drop-view: nobody uses it
DROP VIEW active;
