CREATE TABLE cities (id bigint PRIMARY KEY);
