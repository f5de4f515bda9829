CREATE TABLE accounts (id bigint PRIMARY KEY, number int, city varchar(100));
