select i.indrelid, quote_ident(c.relname) as sql_name, i.indisunique, i.indisprimary,
       array(select k from unnest(i.indkey::int2[]) with ordinality as keys (k, at)
              where at <= i.indnkeyatts order by at) as keys,
       array(select pg_get_indexdef(i.indexrelid, k, true)
               from generate_series(1, i.indnkeyatts) k order by k) as expressions,
       i.indpred is not null as is_partial,
       -- Whether a caller's own condition may use it although a policy guards the table: only what is
       -- leakproof is looked at before the policy is.
       exists (select from pg_opclass o
                 join pg_amop s on s.amopfamily = o.opcfamily and s.amoplefttype = o.opcintype
                 join pg_operator op on op.oid = s.amopopr
                 join pg_proc f on f.oid = op.oprcode
                where o.oid = (i.indclass::oid[])[0] and f.proleakproof) as is_leakproof,
       (select o.opcname::text from pg_opclass o where o.oid = (i.indclass::oid[])[0]) as operators
  from pg_index i join relations r on r.oid = i.indrelid join pg_class c on c.oid = i.indexrelid
 where i.indisvalid
 order by i.indrelid, c.relname
