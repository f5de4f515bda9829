CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE MATERIALIZED VIEW totals AS SELECT id FROM accounts;
CREATE UNIQUE INDEX totals_id ON totals (id);
