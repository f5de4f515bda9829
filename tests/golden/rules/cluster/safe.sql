SET lock_timeout = '2s';
ALTER TABLE accounts CLUSTER ON accounts_pkey;
