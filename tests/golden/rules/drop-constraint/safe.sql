SET lock_timeout = '2s';
ALTER TABLE accounts RENAME CONSTRAINT accounts_name TO accounts_name_given;
