SET lock_timeout = '2s';
ALTER TABLE accounts RENAME COLUMN name TO full_name;
