CREATE INDEX CONCURRENTLY accounts_email_id ON accounts (email, id);
