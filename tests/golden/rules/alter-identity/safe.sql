SET lock_timeout = '2s';
ALTER TABLE accounts ALTER COLUMN id SET STATISTICS 100;
