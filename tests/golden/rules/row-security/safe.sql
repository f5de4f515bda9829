CREATE TABLE mine (id bigint PRIMARY KEY);
