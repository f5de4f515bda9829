SET lock_timeout = '2s';
SET idle_in_transaction_session_timeout = '30s';
ALTER TABLE accounts ADD COLUMN city text;
