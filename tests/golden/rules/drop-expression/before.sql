CREATE TABLE accounts (id bigint PRIMARY KEY, name text, lower_name text GENERATED ALWAYS AS (lower(name)) STORED);
