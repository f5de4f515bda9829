SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN active boolean;
ALTER TABLE accounts ALTER COLUMN active SET DEFAULT true;
