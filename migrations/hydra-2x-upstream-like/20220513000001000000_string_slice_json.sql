-- crossfade: irreversible: lists change their form; green is a copy: drop it and begin again
-- The lists of a client become jsonb arrays, the pieces between quotes as they are.

ALTER TABLE hydra_client
    ADD COLUMN redirect_uris_json jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN grant_types_json jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN response_types_json jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN audience_json jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN allowed_cors_origins_json jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN contacts_json jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN request_uris_json jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN post_logout_redirect_uris_json jsonb NOT NULL DEFAULT '[]';
UPDATE hydra_client SET redirect_uris_json = ('["' || replace(redirect_uris, '|', '","') || '"]')::jsonb WHERE redirect_uris <> '';
UPDATE hydra_client SET grant_types_json = ('["' || replace(grant_types, '|', '","') || '"]')::jsonb WHERE grant_types <> '';
UPDATE hydra_client SET response_types_json = ('["' || replace(response_types, '|', '","') || '"]')::jsonb WHERE response_types <> '';
UPDATE hydra_client SET audience_json = ('["' || replace(audience, '|', '","') || '"]')::jsonb WHERE audience <> '';
UPDATE hydra_client SET allowed_cors_origins_json = ('["' || replace(allowed_cors_origins, '|', '","') || '"]')::jsonb WHERE allowed_cors_origins <> '';
UPDATE hydra_client SET contacts_json = ('["' || replace(contacts, '|', '","') || '"]')::jsonb WHERE contacts <> '';
UPDATE hydra_client SET request_uris_json = ('["' || replace(request_uris, '|', '","') || '"]')::jsonb WHERE request_uris <> '';
UPDATE hydra_client SET post_logout_redirect_uris_json = ('["' || replace(post_logout_redirect_uris, '|', '","') || '"]')::jsonb WHERE post_logout_redirect_uris <> '';
ALTER TABLE hydra_client
    ALTER COLUMN redirect_uris_json DROP DEFAULT,
    ALTER COLUMN grant_types_json DROP DEFAULT,
    ALTER COLUMN response_types_json DROP DEFAULT,
    ALTER COLUMN audience_json DROP DEFAULT,
    ALTER COLUMN allowed_cors_origins_json DROP DEFAULT,
    ALTER COLUMN contacts_json DROP DEFAULT,
    ALTER COLUMN request_uris_json DROP DEFAULT;
ALTER TABLE hydra_client
    DROP COLUMN redirect_uris,
    DROP COLUMN grant_types,
    DROP COLUMN response_types,
    DROP COLUMN audience,
    DROP COLUMN allowed_cors_origins,
    DROP COLUMN contacts,
    DROP COLUMN request_uris,
    DROP COLUMN post_logout_redirect_uris;
ALTER TABLE hydra_client RENAME COLUMN redirect_uris_json TO redirect_uris;
ALTER TABLE hydra_client RENAME COLUMN grant_types_json TO grant_types;
ALTER TABLE hydra_client RENAME COLUMN response_types_json TO response_types;
ALTER TABLE hydra_client RENAME COLUMN audience_json TO audience;
ALTER TABLE hydra_client RENAME COLUMN allowed_cors_origins_json TO allowed_cors_origins;
ALTER TABLE hydra_client RENAME COLUMN contacts_json TO contacts;
ALTER TABLE hydra_client RENAME COLUMN request_uris_json TO request_uris;
ALTER TABLE hydra_client RENAME COLUMN post_logout_redirect_uris_json TO post_logout_redirect_uris;
