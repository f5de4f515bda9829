SET lock_timeout = '2s';
ALTER TABLE accounts ALTER COLUMN city TYPE varchar(200);
