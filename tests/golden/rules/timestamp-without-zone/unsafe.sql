CREATE TABLE cities (id bigint PRIMARY KEY, founded timestamp);
