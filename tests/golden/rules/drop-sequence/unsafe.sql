SET lock_timeout = '2s';
DROP SEQUENCE numbers;
