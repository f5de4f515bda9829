SET lock_timeout = '2s';
ALTER TABLE accounts OWNER TO CURRENT_USER;
