DROP TABLE networks;
DROP TABLE schema_migration;
