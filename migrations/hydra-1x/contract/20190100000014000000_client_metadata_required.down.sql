-- hydra_client.metadata has its default again, for 1.0.0 servers, and the four lists of migrations come back.
-- ACCESS EXCLUSIVE, the catalog only: on lists that no running server reads, then on hydra_client.
ALTER TABLE IF EXISTS crossfade.hydra_jwk_migration SET SCHEMA public;
ALTER TABLE IF EXISTS crossfade.hydra_client_migration SET SCHEMA public;
ALTER TABLE IF EXISTS crossfade.hydra_oauth2_authentication_consent_migration SET SCHEMA public;
ALTER TABLE IF EXISTS crossfade.hydra_oauth2_migration SET SCHEMA public;

INSERT INTO schema_migration (version) VALUES ('20190100000014') ON CONFLICT DO NOTHING;

ALTER TABLE hydra_client ALTER COLUMN metadata SET DEFAULT '{}';
