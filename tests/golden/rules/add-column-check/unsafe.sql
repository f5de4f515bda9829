SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN age int CHECK (age >= 0);
