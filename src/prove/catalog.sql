-- Everything that DDL leaves behind, one property a row: kind, object, property, value. Without schema crossfade, members of
-- extensions and the system's own. Positions of columns are a kind of their own: they matter to SELECT * alone.
WITH ours AS (
    SELECT n.oid, n.nspname FROM pg_namespace n
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'crossfade') AND n.nspname !~ '^pg_(toast|temp)'
), extended AS (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), relation AS (
    SELECT c.*, n.nspname, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS called
    FROM pg_class c JOIN ours n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c')
      AND (c.oid, 'pg_class'::regclass::oid) NOT IN (SELECT objid, classid FROM extended)
)
SELECT 'schema', quote_ident(n.nspname), 'there', coalesce(n.nspacl::text, '')
FROM pg_namespace n JOIN ours ON ours.oid = n.oid
UNION ALL
SELECT CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' WHEN 'f' THEN 'foreign table'
                    WHEN 'c' THEN 'type' ELSE 'table' END,
       called, property, value
FROM relation r
CROSS JOIN LATERAL (VALUES
    ('kind', relkind::text), ('persistence', relpersistence::text), ('options', coalesce(reloptions::text, '')),
    ('owner', relowner::regrole::text), ('privileges', coalesce(relacl::text, '')),
    ('row security', relrowsecurity::text || ' forced ' || relforcerowsecurity::text), ('replica identity', relreplident::text),
    ('tablespace', coalesce((SELECT spcname::text FROM pg_tablespace t WHERE t.oid = reltablespace), '')),
    ('access method', coalesce((SELECT amname::text FROM pg_am a WHERE a.oid = relam), '')),
    ('partition key', CASE WHEN relkind = 'p' THEN pg_get_partkeydef(oid) ELSE '' END),
    ('partition bound', CASE WHEN relispartition THEN pg_get_expr(relpartbound, oid) ELSE '' END),
    ('parents', coalesce((SELECT string_agg(inhparent::regclass::text, ', ' ORDER BY inhseqno) FROM pg_inherits i WHERE i.inhrelid = r.oid), '')),
    ('definition', CASE WHEN relkind IN ('v', 'm') THEN pg_get_viewdef(oid) ELSE '' END),
    ('filled', CASE WHEN relkind = 'm' THEN relispopulated::text ELSE '' END)
) AS p (property, value)
UNION ALL
SELECT 'column', r.called || '.' || quote_ident(a.attname), property, value
FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
CROSS JOIN LATERAL (VALUES
    ('type', format_type(a.atttypid, a.atttypmod)), ('not null', a.attnotnull::text),
    ('default', coalesce(pg_get_expr(d.adbin, d.adrelid), '')), ('identity', a.attidentity::text), ('generated', a.attgenerated::text),
    ('collation', CASE WHEN a.attcollation = 0 THEN '' ELSE a.attcollation::regcollation::text END),
    ('storage', a.attstorage::text), ('compression', coalesce(to_jsonb(a) ->> 'attcompression', '')),
    ('statistics target', coalesce(nullif(to_jsonb(a) ->> 'attstattarget', '-1'), '')),
    ('options', coalesce((SELECT string_agg(option, ', ') FROM unnest(a.attoptions) AS option WHERE option !~ '^pg_attver='), '')),
    ('privileges', coalesce(a.attacl::text, ''))
) AS p (property, value)
WHERE r.relkind <> 'S'
UNION ALL
SELECT 'order of columns', r.called, 'columns', string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE r.relkind IN ('r', 'p', 'f') GROUP BY r.called
UNION ALL
SELECT 'constraint', coalesce(r.called, k.contypid::regtype::text) || ' ' || quote_ident(k.conname), property, value
FROM pg_constraint k LEFT JOIN relation r ON r.oid = k.conrelid JOIN ours ON ours.oid = k.connamespace
CROSS JOIN LATERAL (VALUES ('definition', pg_get_constraintdef(k.oid)), ('validated', k.convalidated::text)) AS p (property, value)
WHERE k.contype <> 't' AND (r.oid IS NOT NULL OR k.contypid <> 0)
UNION ALL
SELECT 'index', quote_ident(r.nspname) || '.' || quote_ident(c.relname), property, value
FROM pg_index i JOIN relation r ON r.oid = i.indrelid JOIN pg_class c ON c.oid = i.indexrelid
CROSS JOIN LATERAL (VALUES
    ('definition', pg_get_indexdef(i.indexrelid)), ('valid', (i.indisvalid AND i.indisready AND i.indislive)::text),
    ('clustered', i.indisclustered::text), ('replica identity', i.indisreplident::text),
    ('statistics targets', coalesce((SELECT string_agg(coalesce(nullif(to_jsonb(a) ->> 'attstattarget', '-1'), '-'), ',' ORDER BY a.attnum)
                                     FROM pg_attribute a WHERE a.attrelid = i.indexrelid), ''))
) AS p (property, value)
UNION ALL
SELECT 'sequence', r.called, 'numbers',
       format('%s from %s by %s between %s and %s cache %s cycle %s', s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmin,
              s.seqmax, s.seqcache, s.seqcycle)
FROM pg_sequence s JOIN relation r ON r.oid = s.seqrelid
UNION ALL
SELECT 'sequence', r.called, 'owned by', coalesce(string_agg(d.refobjid::regclass::text || '.' || a.attname || ' ' || d.deptype::text, ', '), '')
FROM relation r
LEFT JOIN pg_depend d ON d.objid = r.oid AND d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
                     AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
LEFT JOIN pg_attribute a ON (a.attrelid, a.attnum) = (d.refobjid, d.refobjsubid)
WHERE r.relkind = 'S' GROUP BY r.called
UNION ALL
SELECT 'function', p.oid::regprocedure::text, property, value
FROM pg_proc p JOIN ours ON ours.oid = p.pronamespace
CROSS JOIN LATERAL (VALUES
    ('definition', CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid)
                        ELSE (SELECT to_jsonb(a) - 'aggfnoid' FROM pg_aggregate a WHERE a.aggfnoid = p.oid)::text END),
    ('owner', p.proowner::regrole::text), ('privileges', coalesce(p.proacl::text, ''))
) AS q (property, value)
WHERE (p.oid, 'pg_proc'::regclass::oid) NOT IN (SELECT objid, classid FROM extended)
UNION ALL
SELECT 'trigger', r.called || ' ' || quote_ident(t.tgname), property, value
FROM pg_trigger t JOIN relation r ON r.oid = t.tgrelid
CROSS JOIN LATERAL (VALUES ('definition', pg_get_triggerdef(t.oid)), ('enabled', t.tgenabled::text)) AS p (property, value)
WHERE NOT t.tgisinternal
UNION ALL
SELECT 'event trigger', quote_ident(evtname), 'definition', concat_ws(' ', evtevent, evtfoid::regprocedure, evtenabled, evttags::text)
FROM pg_event_trigger
UNION ALL
SELECT 'rule', r.called || ' ' || quote_ident(w.rulename), 'definition', pg_get_ruledef(w.oid) || ' ' || w.ev_enabled::text
FROM pg_rewrite w JOIN relation r ON r.oid = w.ev_class WHERE w.rulename <> '_RETURN'
UNION ALL
SELECT 'policy', r.called || ' ' || quote_ident(p.polname), 'definition',
       concat_ws(' ', p.polcmd, p.polpermissive, ARRAY(SELECT role::regrole::text FROM unnest(p.polroles) AS role ORDER BY 1)::text,
                 'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid))
FROM pg_policy p JOIN relation r ON r.oid = p.polrelid
UNION ALL
SELECT CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'r' THEN 'range' ELSE 'type' END, t.oid::regtype::text, property, value
FROM pg_type t JOIN ours ON ours.oid = t.typnamespace
CROSS JOIN LATERAL (VALUES
    ('kind', t.typtype::text),
    ('labels', coalesce((SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid), '')),
    ('base', CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) || ' ' || t.typnotnull || ' ' || coalesce(t.typdefault, '') ELSE '' END),
    ('subtype', coalesce((SELECT g.rngsubtype::regtype::text FROM pg_range g WHERE g.rngtypid = t.oid), '')),
    ('privileges', coalesce(t.typacl::text, ''))
) AS p (property, value)
WHERE t.typtype IN ('e', 'd', 'r', 'b') AND t.typelem = 0
  AND (t.oid, 'pg_type'::regclass::oid) NOT IN (SELECT objid, classid FROM extended)
UNION ALL
SELECT 'extension', quote_ident(e.extname), 'version', e.extversion || ' in ' || e.extnamespace::regnamespace::text
FROM pg_extension e
UNION ALL
SELECT 'statistics', quote_ident(n.nspname) || '.' || quote_ident(s.stxname), 'definition', pg_get_statisticsobjdef(s.oid)
FROM pg_statistic_ext s JOIN ours n ON n.oid = s.stxnamespace
UNION ALL
SELECT 'operator', o.oid::regoperator::text, 'definition', concat_ws(' ', o.oprcode::regproc, o.oprcom::regoperator, o.oprnegate::regoperator)
FROM pg_operator o JOIN ours ON ours.oid = o.oprnamespace
WHERE (o.oid, 'pg_operator'::regclass::oid) NOT IN (SELECT objid, classid FROM extended)
UNION ALL
SELECT 'collation', c.oid::regcollation::text, 'definition', (to_jsonb(c) - 'oid' - 'collnamespace' - 'collowner')::text
FROM pg_collation c JOIN ours ON ours.oid = c.collnamespace
UNION ALL
SELECT 'cast', c.castsource::regtype::text || ' to ' || c.casttarget::regtype::text, 'definition',
       concat_ws(' ', c.castfunc::regprocedure, c.castcontext, c.castmethod)
FROM pg_cast c WHERE c.oid >= 16384 AND (c.oid, 'pg_cast'::regclass::oid) NOT IN (SELECT objid, classid FROM extended)
UNION ALL
SELECT 'publication', quote_ident(p.pubname), 'definition',
       concat_ws(' ', p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate,
                 (SELECT string_agg(t.schemaname || '.' || t.tablename, ', ' ORDER BY 1) FROM pg_publication_tables t WHERE t.pubname = p.pubname))
FROM pg_publication p
UNION ALL
SELECT 'default privileges', d.defaclrole::regrole::text || ' ' || coalesce(d.defaclnamespace::regnamespace::text, '') || ' ' || d.defaclobjtype::text,
       'privileges', d.defaclacl::text
FROM pg_default_acl d
UNION ALL
SELECT 'comment', i.type || ' ' || i.identity, 'text', d.description
FROM pg_description d CROSS JOIN LATERAL pg_identify_object(d.classoid, d.objoid, d.objsubid) AS i
WHERE (d.objoid >= 16384 OR i.type = 'schema') AND (d.objoid, d.classoid) NOT IN (SELECT objid, classid FROM extended)
  AND coalesce(i.schema, '') <> 'crossfade' AND i.identity IS NOT NULL
