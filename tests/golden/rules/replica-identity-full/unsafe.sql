SET lock_timeout = '2s';
ALTER TABLE accounts REPLICA IDENTITY FULL;
