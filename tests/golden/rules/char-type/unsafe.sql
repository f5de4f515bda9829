CREATE TABLE cities (id bigint PRIMARY KEY, code char(3));
