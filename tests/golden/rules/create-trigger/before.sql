CREATE TABLE accounts (id bigint PRIMARY KEY, email text, name text);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
