CREATE TABLE touches (id bigint PRIMARY KEY);
