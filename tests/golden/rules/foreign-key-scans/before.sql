CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE TABLE orders (id bigint PRIMARY KEY, account_id bigint);
CREATE INDEX orders_account_id ON orders (account_id);
