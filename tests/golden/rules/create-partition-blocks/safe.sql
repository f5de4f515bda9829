SET lock_timeout = '2s';
CREATE TABLE events_2 (LIKE events INCLUDING ALL, CHECK (id >= 100 AND id < 200));
ALTER TABLE events ATTACH PARTITION events_2 FOR VALUES FROM (100) TO (200);
ALTER TABLE events_2 DROP CONSTRAINT events_2_id_check;
