SET lock_timeout = '2s';
ALTER TABLE accounts ALTER COLUMN lower_name SET EXPRESSION AS (upper(name));
