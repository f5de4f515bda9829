SET lock_timeout = '2s';
DROP TRIGGER touch ON accounts;
