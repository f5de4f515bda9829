SET lock_timeout = '2s';
ALTER TABLE accounts ENABLE ROW LEVEL SECURITY;
