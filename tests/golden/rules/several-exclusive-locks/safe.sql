SET lock_timeout = '2s';
ALTER TABLE accounts ADD COLUMN city text;
-- next file
SET lock_timeout = '2s';
ALTER TABLE orders ADD COLUMN city text;
