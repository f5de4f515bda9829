SET lock_timeout = '2s';
LOCK TABLE accounts IN SHARE MODE;
