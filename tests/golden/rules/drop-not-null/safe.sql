SET lock_timeout = '2s';
ALTER TABLE accounts ALTER COLUMN name SET DEFAULT '';
