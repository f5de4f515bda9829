SET lock_timeout = '2s';
ALTER TABLE accounts SET SCHEMA archive;
