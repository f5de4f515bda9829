-- crossfade: irreversible: keys get new ids; green is a copy: drop it and begin again
-- Clients and signing keys get a uuid beside their serial key.

ALTER TABLE hydra_client RENAME COLUMN pk TO pk_deprecated;
ALTER TABLE hydra_client ADD COLUMN pk uuid;
UPDATE hydra_client SET pk = gen_random_uuid();
ALTER TABLE hydra_client DROP CONSTRAINT hydra_client_pkey;

ALTER TABLE hydra_jwk RENAME COLUMN pk TO pk_deprecated;
ALTER TABLE hydra_jwk ADD COLUMN pk uuid;
UPDATE hydra_jwk SET pk = gen_random_uuid();
ALTER TABLE hydra_jwk ALTER COLUMN pk SET NOT NULL;
ALTER TABLE hydra_jwk DROP CONSTRAINT hydra_jwk_pkey;
ALTER TABLE hydra_jwk ADD CONSTRAINT hydra_jwk_pkey PRIMARY KEY (pk);
