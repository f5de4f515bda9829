CREATE TABLE accounts_2 (id bigint PRIMARY KEY);
