SET lock_timeout = '2s';
DROP POLICY mine ON accounts;
