SET lock_timeout = '2s';
ALTER TABLE accounts DISABLE TRIGGER USER;
