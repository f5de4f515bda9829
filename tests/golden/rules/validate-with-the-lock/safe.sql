SET lock_timeout = '2s';
ALTER TABLE accounts ADD CONSTRAINT accounts_email CHECK (email <> '') NOT VALID;
-- next file
-- crossfade-lint: ignore rows-may-break: counted, none
ALTER TABLE accounts VALIDATE CONSTRAINT accounts_email;
