SET lock_timeout = '2s';
ALTER TABLE accounts ADD CONSTRAINT accounts_email_not_null CHECK (email IS NOT NULL) NOT VALID;
-- next file
-- crossfade-lint: ignore rows-may-break: counted, none
ALTER TABLE accounts VALIDATE CONSTRAINT accounts_email_not_null;
-- next file
SET lock_timeout = '2s';
ALTER TABLE accounts ALTER COLUMN email SET NOT NULL;
-- next file
SET lock_timeout = '2s';
-- crossfade-lint: ignore drop-constraint: NOT NULL takes its place
ALTER TABLE accounts DROP CONSTRAINT accounts_email_not_null;
