CREATE TABLE a_name (id bigint PRIMARY KEY);
