CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE INDEX accounts_email ON accounts (email);
