CREATE VIEW all_accounts AS SELECT * FROM accounts;
