-- crossfade-lint: ignore drop-table: not needed
SELECT 1;
