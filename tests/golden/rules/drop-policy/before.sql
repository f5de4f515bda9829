CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE POLICY mine ON accounts USING (true);
