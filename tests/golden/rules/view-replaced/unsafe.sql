SET lock_timeout = '2s';
CREATE OR REPLACE VIEW active AS SELECT id, email FROM accounts;
