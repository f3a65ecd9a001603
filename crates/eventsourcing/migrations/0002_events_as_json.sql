-- Events as json and not as jsonb: the text is stored as it is written, where jsonb is taken apart at every append and put
-- together again at every read. psql shows both alike, and nothing here asks for a part of an event.

ALTER TABLE eventlog.events
    ALTER COLUMN data TYPE json USING data::json,
    ALTER COLUMN metadata TYPE json USING metadata::json;

-- As before but for the types of `data` and `metadata`.
CREATE OR REPLACE FUNCTION eventlog.append(
    c_scope text[], c_id uuid[], c_hash bytea[], c_outcome text[], c_expires boolean[],
    r_stream text[], r_version bigint[],
    e_stream text[], e_version bigint[], e_id uuid[], e_command uuid[], e_type text[], e_schema smallint[],
    e_data text[], e_metadata text[], f_stream text, f_version bigint, f_id uuid,
    OUT last_position bigint, OUT appended_at timestamptz, OUT unfounded boolean, OUT stale_streams text[],
    OUT known_scope text[], OUT known_id uuid[], OUT known_hash bytea[], OUT known_outcome text[],
    OUT known_position bigint[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = eventlog, pg_temp
SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    IF current_setting('synchronous_commit') = 'off' THEN
        RAISE EXCEPTION 'synchronous_commit is off: an append would be acknowledged before it is durable'
            USING HINT = 'Set synchronous_commit to on, or to a stronger level, for the role of this service.';
    END IF;
    PERFORM pg_advisory_xact_lock(7310577125410);

    IF f_id IS NOT NULL THEN
        unfounded := NOT EXISTS (SELECT FROM events e
                                  WHERE e.stream_id = f_stream AND e.version = f_version AND e.event_id = f_id);
        IF unfounded THEN
            RETURN;
        END IF;
    END IF;

    SELECT array_agg(k.scope), array_agg(k.command_id), array_agg(k.request_hash), array_agg(k.outcome::text),
           array_agg(k.position)
      INTO known_scope, known_id, known_hash, known_outcome, known_position
      FROM (SELECT unnest(c_scope) AS scope, unnest(c_id) AS id) c,
           LATERAL (SELECT * FROM command_results r
                    WHERE r.scope = c.scope AND r.command_id = c.id LIMIT 1) k;

    SELECT array_agg(r.stream) INTO stale_streams
      FROM (SELECT unnest(r_stream) AS stream, unnest(r_version) AS version) r
     WHERE r.version IS DISTINCT FROM COALESCE(
               (SELECT e.version FROM events e WHERE e.stream_id = r.stream ORDER BY e.version DESC LIMIT 1), 0);

    IF known_id IS NOT NULL OR stale_streams IS NOT NULL THEN
        RETURN;
    END IF;

    appended_at := clock_timestamp();
    IF cardinality(e_stream) > 0 THEN
        INSERT INTO events (stream_id, version, event_id, command_id, type, schema_version, data, metadata,
                            recorded_at)
        SELECT e.stream, e.version, e.id, e.command, e.type, e.schema, e.data::json, e.metadata::json,
               appended_at
          FROM (SELECT unnest(e_stream) AS stream, unnest(e_version) AS version, unnest(e_id) AS id,
                       unnest(e_command) AS command, unnest(e_type) AS type, unnest(e_schema) AS schema,
                       unnest(e_data) AS data, unnest(e_metadata) AS metadata) e;
        -- Positions are drawn under the lock alone, so this session drew the last one.
        last_position := currval('events_position_seq');
    ELSE
        last_position := COALESCE((SELECT e.position FROM events e ORDER BY e.position DESC LIMIT 1), 0);
    END IF;

    INSERT INTO command_results (scope, command_id, request_hash, outcome, position, expires)
    SELECT c.scope, c.id, c.hash, c.outcome::json, last_position, c.expires
      FROM (SELECT unnest(c_scope) AS scope, unnest(c_id) AS id, unnest(c_hash) AS hash,
                   unnest(c_outcome) AS outcome, unnest(c_expires) AS expires) c
     WHERE c.outcome IS NOT NULL;
END $$;
