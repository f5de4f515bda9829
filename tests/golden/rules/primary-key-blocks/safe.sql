-- crossfade-lint: ignore rows-may-break: counted, none
CREATE UNIQUE INDEX CONCURRENTLY logs_pkey ON logs (id);
SET lock_timeout = '2s';
ALTER TABLE logs ADD CONSTRAINT logs_pkey PRIMARY KEY USING INDEX logs_pkey;
