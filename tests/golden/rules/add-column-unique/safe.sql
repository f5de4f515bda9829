SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN handle text;
-- next file
CREATE UNIQUE INDEX CONCURRENTLY accounts_handle_key ON accounts (handle);
-- next file
SET lock_timeout = '2s';
ALTER TABLE accounts ADD CONSTRAINT accounts_handle_key UNIQUE USING INDEX accounts_handle_key;
