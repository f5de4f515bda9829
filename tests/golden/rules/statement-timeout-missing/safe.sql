SET lock_timeout = '2s';
SET statement_timeout = '5min';
ALTER TABLE accounts ADD COLUMN city text;
