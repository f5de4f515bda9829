CREATE VIEW active_accounts AS SELECT id FROM accounts;
