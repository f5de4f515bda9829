CREATE VIEW active_2 AS SELECT id, email FROM accounts;
