SET lock_timeout = '2s';
ALTER TABLE events ATTACH PARTITION events_1 FOR VALUES FROM (1) TO (100);
