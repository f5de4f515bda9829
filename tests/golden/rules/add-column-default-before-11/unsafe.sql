SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN active boolean DEFAULT true;
