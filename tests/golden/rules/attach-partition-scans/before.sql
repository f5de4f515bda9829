CREATE TABLE events (id bigint NOT NULL) PARTITION BY RANGE (id);
CREATE TABLE events_1 (id bigint NOT NULL);
