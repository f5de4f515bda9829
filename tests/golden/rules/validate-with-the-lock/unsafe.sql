SET lock_timeout = '2s';
ALTER TABLE accounts ADD CONSTRAINT accounts_email CHECK (email <> '') NOT VALID;
-- crossfade-lint: ignore rows-may-break, work-under-lock: counted, none
ALTER TABLE accounts VALIDATE CONSTRAINT accounts_email;
