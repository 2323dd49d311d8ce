select k.conrelid, k.conname::text, quote_ident(k.conname) as sql_name, k.confrelid, k.conkey
  from pg_constraint k join relations r on r.oid = k.conrelid
 where k.contype = 'f' and k.conparentid = 0
 order by k.conrelid, k.conname
