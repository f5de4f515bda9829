ALTER TABLE events DETACH PARTITION events_1 CONCURRENTLY;
-- next file
SET lock_timeout = '2s';
-- crossfade-lint: ignore drop-constraint: DETACH leaves it in place of the bound
ALTER TABLE events_1 DROP CONSTRAINT events_1_id_check;
