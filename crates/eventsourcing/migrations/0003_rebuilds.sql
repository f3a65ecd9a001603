-- Read models made anew beside the serving ones. The tables of a model serve in `public`. A rebuild fills copies of
-- them in the schema `<model>@next`, and the switch puts those in their place; what served before is kept in
-- `<model>@old`. Checkpoints and parked messages carry the same endings and move with their tables.
--
-- The functions run with the rights of the owner, since a service may not create tables. They touch tables of
-- `public` and schemas with these two endings, and nothing else.

-- One row for each model that was ever rebuilt, or is.
CREATE TABLE eventsourcing.rebuilds (
    model             text        COLLATE "C" PRIMARY KEY,
    -- Copies are being filled, or wait for somebody to mend what keeps them from it.
    filling           boolean     NOT NULL,
    -- What is being filled served before, and begins where it stood then.
    from_former       boolean     NOT NULL DEFAULT false,
    begun_at          timestamptz NOT NULL DEFAULT now(),
    -- As it was measured last.
    events_per_second double precision NOT NULL DEFAULT 0,
    -- What stands in the way; with `failed`, it does not go on by itself.
    problem           text,
    failed            boolean     NOT NULL DEFAULT false,
    -- How often another version began to serve, so that whoever remembers what was read can tell.
    switches          bigint      NOT NULL DEFAULT 0,
    switched_at       timestamptz,
    -- Until when the former version is kept; NULL: there is none.
    former_kept_until timestamptz
);

-- What two schemas must have in common for their tables to change places: columns, constraints and indexes.
CREATE FUNCTION eventsourcing.rebuild_shape(in_schema text, tables text[]) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT string_agg(concat_ws(E'\n', t.relname, t.columns, t.constraints, t.indexes), E'\n' ORDER BY t.relname)
      FROM (SELECT c.relname,
                   (SELECT string_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
                                                a.attidentity, a.attgenerated, a.attcollation::regcollation,
                                                pg_get_expr(d.adbin, d.adrelid)), ', ' ORDER BY a.attname)
                      FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
                     WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
                   (SELECT string_agg(k.conname || ' ' || replace(pg_get_constraintdef(k.oid),
                                                                  format(' REFERENCES %I.', in_schema),
                                                                  ' REFERENCES '), ', ' ORDER BY k.conname)
                      FROM pg_constraint k WHERE k.conrelid = c.oid) AS constraints,
                   (SELECT string_agg(replace(pg_get_indexdef(i.indexrelid), format(' ON %I.', in_schema), ' ON '),
                                      ', ' ORDER BY n.relname)
                      FROM pg_index i JOIN pg_class n ON n.oid = i.indexrelid WHERE i.indrelid = c.oid) AS indexes
              FROM pg_class c
             WHERE c.relnamespace = to_regnamespace(quote_ident(in_schema)) AND c.relname = ANY (tables)) t
$$;

-- Makes empty copies of a model's tables, with their indexes, constraints and rights, for the role that asks.
CREATE FUNCTION eventsourcing.rebuild_create(model text, tables text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    next text := model || '@next';
    name text;
    it   record;
BEGIN
    EXECUTE format('CREATE SCHEMA %I', next);
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', next, session_user);
    FOREACH name IN ARRAY tables LOOP
        IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = format('public.%I', name)::regclass AND NOT tgisinternal)
        THEN
            RAISE EXCEPTION 'the table % has a trigger, which a copy would not have', name;
        END IF;
        EXECUTE format('CREATE TABLE %I.%I (LIKE public.%I INCLUDING ALL EXCLUDING INDEXES)', next, name, name);
        FOR it IN SELECT unnest(reloptions) AS option FROM pg_class
                   WHERE oid = format('public.%I', name)::regclass LOOP
            EXECUTE format('ALTER TABLE %I.%I SET (%s)', next, name, it.option);
        END LOOP;
        FOR it IN SELECT acl.privilege_type, acl.grantee FROM pg_class c, aclexplode(c.relacl) acl
                   WHERE c.oid = format('public.%I', name)::regclass AND acl.grantee <> c.relowner LOOP
            EXECUTE format('GRANT %s ON %I.%I TO %s', it.privilege_type, next, name,
                           CASE it.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(it.grantee)) END);
        END LOOP;
    END LOOP;
    -- Foreign keys come last, since they need the keys of other tables.
    FOR it IN SELECT c.conname, t.relname,
                     replace(pg_get_constraintdef(c.oid), ' REFERENCES public.', format(' REFERENCES %I.', next)) AS body
                FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
               WHERE t.relnamespace = 'public'::regnamespace AND t.relname = ANY (tables)
                 AND c.contype IN ('p', 'u', 'x', 'f')
               ORDER BY c.contype = 'f', c.conname LOOP
        EXECUTE format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s', next, it.relname, it.conname, it.body);
    END LOOP;
    FOR it IN SELECT replace(pg_get_indexdef(i.indexrelid), ' ON public.', format(' ON %I.', next)) AS body
                FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
               WHERE t.relnamespace = 'public'::regnamespace AND t.relname = ANY (tables)
                 AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid
                                                               AND c.contype IN ('p', 'u', 'x')) LOOP
        EXECUTE it.body;
    END LOOP;
END $$;

-- Removes what was filled so far.
CREATE FUNCTION eventsourcing.rebuild_drop_next(model text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', model || '@next');
END $$;

-- Removes what served before.
CREATE FUNCTION eventsourcing.rebuild_drop_former(model text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', model || '@old');
END $$;

-- Has what served before be what is filled next, or the other way round.
CREATE FUNCTION eventsourcing.rebuild_rename(model text, take_up boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('ALTER SCHEMA %I RENAME TO %I', model || CASE WHEN take_up THEN '@old' ELSE '@next' END,
                   model || CASE WHEN take_up THEN '@next' ELSE '@old' END);
END $$;

-- Gathers statistics before anybody reads what was filled: a plan without them is a scan.
CREATE FUNCTION eventsourcing.rebuild_analyze(model text, tables text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY tables LOOP
        EXECUTE format('ANALYZE %I.%I', model || '@next', name);
    END LOOP;
END $$;

-- Puts what was filled in the place of what serves. Statements that were prepared before resolve names anew. All locks
-- come first, so that one that cannot be had costs nothing; the first of them waits for whoever must not see a switch.
CREATE FUNCTION eventsourcing.rebuild_switch(model text, tables text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    next text := model || '@next';
    old  text := model || '@old';
    name text;
BEGIN
    IF eventsourcing.rebuild_shape('public', tables) IS DISTINCT FROM eventsourcing.rebuild_shape(next, tables) THEN
        RAISE EXCEPTION 'the tables of % were migrated since its rebuild began', model
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    LOCK TABLE eventsourcing.rebuilds IN ACCESS EXCLUSIVE MODE;
    FOREACH name IN ARRAY tables LOOP
        EXECUTE format('LOCK TABLE %I.%I IN ACCESS EXCLUSIVE MODE', next, name);
        EXECUTE format('LOCK TABLE public.%I IN ACCESS EXCLUSIVE MODE', name);
    END LOOP;
    EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', old);
    EXECUTE format('CREATE SCHEMA %I', old);
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', old, session_user);
    FOREACH name IN ARRAY tables LOOP
        EXECUTE format('ALTER TABLE public.%I SET SCHEMA %I', name, old);
        EXECUTE format('ALTER TABLE %I.%I SET SCHEMA public', next, name);
    END LOOP;
    EXECUTE format('DROP SCHEMA %I', next);
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA eventsourcing FROM PUBLIC;
