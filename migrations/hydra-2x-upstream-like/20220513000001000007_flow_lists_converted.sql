-- crossfade: irreversible: lists change their form; green is a copy: drop it and begin again

UPDATE hydra_oauth2_flow SET requested_scope_json = requested_scope::jsonb;
UPDATE hydra_oauth2_flow SET requested_at_audience_json = requested_at_audience::jsonb;
UPDATE hydra_oauth2_flow SET amr_json = amr::jsonb;
UPDATE hydra_oauth2_flow SET granted_scope_json = nullif(granted_scope, '')::jsonb;
UPDATE hydra_oauth2_flow SET granted_at_audience_json = coalesce(nullif(granted_at_audience, ''), '[]')::jsonb;
