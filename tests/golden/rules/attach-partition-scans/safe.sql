SET lock_timeout = '2s';
ALTER TABLE events_1 ADD CONSTRAINT events_1_bound CHECK (id >= 1 AND id < 100) NOT VALID;
-- next file
-- crossfade-lint: ignore rows-may-break: counted, none
ALTER TABLE events_1 VALIDATE CONSTRAINT events_1_bound;
-- next file
SET lock_timeout = '2s';
ALTER TABLE events ATTACH PARTITION events_1 FOR VALUES FROM (1) TO (100);
-- next file
SET lock_timeout = '2s';
-- crossfade-lint: ignore drop-constraint: the bound takes its place
ALTER TABLE events_1 DROP CONSTRAINT events_1_bound;
