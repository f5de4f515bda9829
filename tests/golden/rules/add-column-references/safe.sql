SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN city_id bigint;
-- next file
SET lock_timeout = '2s';
-- crossfade-lint: ignore foreign-key-without-index: few rows
ALTER TABLE accounts ADD CONSTRAINT accounts_city_id_fkey FOREIGN KEY (city_id) REFERENCES cities (id) NOT VALID;
-- next file
-- crossfade-lint: ignore rows-may-break: new column, all NULL
ALTER TABLE accounts VALIDATE CONSTRAINT accounts_city_id_fkey;
