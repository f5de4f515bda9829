SET lock_timeout = '2s';
CREATE INDEX CONCURRENTLY accounts_email ON accounts (email);
