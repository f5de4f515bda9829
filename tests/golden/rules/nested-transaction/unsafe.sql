BEGIN;
-- crossfade-lint: ignore nested-transaction: shown above
COMMIT;
