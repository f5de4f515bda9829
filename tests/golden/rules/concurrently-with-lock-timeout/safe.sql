SET lock_timeout = 0;
CREATE INDEX CONCURRENTLY accounts_email ON accounts (email);
