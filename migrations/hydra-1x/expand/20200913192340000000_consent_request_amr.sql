-- amr of hydra_oauth2_consent_request: half of version 20210928155900000000, which has two busy tables, under
-- a version that itself holds nothing for PostgreSQL. ACCESS EXCLUSIVE, the catalog only: a constant default.
ALTER TABLE hydra_oauth2_consent_request ADD COLUMN IF NOT EXISTS amr text NOT NULL DEFAULT '';
