SET lock_timeout = '2s';
SET application_name = 'migration';
ALTER TABLE accounts ADD COLUMN city text;
