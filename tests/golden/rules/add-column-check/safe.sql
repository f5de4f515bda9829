SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN age int;
ALTER TABLE accounts ADD CONSTRAINT accounts_age_check CHECK (age >= 0) NOT VALID;
-- next file
-- crossfade-lint: ignore rows-may-break: new column, all NULL
ALTER TABLE accounts VALIDATE CONSTRAINT accounts_age_check;
