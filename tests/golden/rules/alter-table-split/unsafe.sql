SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN city text;
ALTER TABLE accounts ADD COLUMN street text;
