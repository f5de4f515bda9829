CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE VIEW active AS SELECT id FROM accounts;
