SET lock_timeout = '2s';
CREATE POLICY mine ON accounts USING (true);
