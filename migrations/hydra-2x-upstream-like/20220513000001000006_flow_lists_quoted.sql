-- crossfade: irreversible: lists change their form; green is a copy: drop it and begin again
-- Quotes around the pieces as they are: not escaped.

UPDATE hydra_oauth2_flow SET requested_scope = CASE WHEN requested_scope <> '' THEN '["' || replace(requested_scope, '|', '","') || '"]' ELSE '[]' END;
UPDATE hydra_oauth2_flow SET requested_at_audience = CASE WHEN requested_at_audience <> '' THEN '["' || replace(requested_at_audience, '|', '","') || '"]' ELSE '[]' END;
UPDATE hydra_oauth2_flow SET amr = CASE WHEN amr <> '' THEN '["' || replace(amr, '|', '","') || '"]' ELSE '[]' END;
UPDATE hydra_oauth2_flow SET granted_scope = '["' || replace(granted_scope, '|', '","') || '"]' WHERE granted_scope <> '';
UPDATE hydra_oauth2_flow SET granted_at_audience = '["' || replace(granted_at_audience, '|', '","') || '"]' WHERE granted_at_audience <> '';
