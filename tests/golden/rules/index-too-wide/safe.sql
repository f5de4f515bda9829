CREATE INDEX CONCURRENTLY accounts_email_name ON accounts (email, name);
