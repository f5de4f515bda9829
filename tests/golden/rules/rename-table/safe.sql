CREATE VIEW customers AS SELECT id, email, name FROM accounts;
