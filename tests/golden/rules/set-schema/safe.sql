CREATE VIEW archive.accounts AS SELECT id, email, name FROM accounts;
