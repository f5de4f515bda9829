SET lock_timeout = '2s';
CREATE SEQUENCE accounts_number;
ALTER TABLE accounts ADD COLUMN number bigint;
ALTER TABLE accounts ALTER COLUMN number SET DEFAULT nextval('accounts_number');
