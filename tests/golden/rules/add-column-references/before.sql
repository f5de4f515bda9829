CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE TABLE cities (id bigint PRIMARY KEY);
