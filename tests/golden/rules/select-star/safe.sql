CREATE VIEW all_accounts AS SELECT id, email, name FROM accounts;
