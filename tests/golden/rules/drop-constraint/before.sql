CREATE TABLE accounts (id bigint PRIMARY KEY, name text CONSTRAINT accounts_name CHECK (name <> ''));
