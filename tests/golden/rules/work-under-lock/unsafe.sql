SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN city text;
UPDATE accounts SET city = 'none' WHERE id < 100;
