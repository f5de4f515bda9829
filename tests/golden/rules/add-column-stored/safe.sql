CREATE VIEW accounts_lower AS SELECT id, lower(email) AS email_lower FROM accounts;
