CREATE TABLE cities (id bigint PRIMARY KEY, name text);
