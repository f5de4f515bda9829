CREATE VIEW active_2 AS SELECT id FROM accounts;
