CREATE TABLE accounts_next (id bigint PRIMARY KEY);
