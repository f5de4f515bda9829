CREATE TABLE cities (id bigint PRIMARY KEY, name varchar(100));
