SET lock_timeout = '2s';
CREATE INDEX accounts_email ON accounts (email);
