SET lock_timeout = '2s';
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (100) TO (200);
