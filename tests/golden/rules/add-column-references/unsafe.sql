SET lock_timeout = '2s';
-- crossfade-lint: ignore foreign-key-without-index: few rows
ALTER TABLE accounts ADD COLUMN city_id bigint REFERENCES cities (id);
