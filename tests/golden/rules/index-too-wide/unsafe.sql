CREATE INDEX CONCURRENTLY accounts_wide ON accounts (id, email, name, city);
