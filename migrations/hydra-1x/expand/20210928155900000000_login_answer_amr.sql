-- amr of hydra_oauth2_authentication_request_handled (that of the consent request came with version
-- 20200913192340000000). ACCESS EXCLUSIVE, the catalog only: a constant default, no scan and no rewrite.
ALTER TABLE hydra_oauth2_authentication_request_handled ADD COLUMN IF NOT EXISTS amr text NOT NULL DEFAULT '';
