-- The event log of one service, and the working tables of the machinery around it.
--
-- `eventlog` is append-only: events are written by eventlog.append() alone, and nothing there is ever updated.
-- `eventsourcing` holds what can be made again from the log (checkpoints, snapshots) or is work in hand
-- (parked messages, tasks).

CREATE SCHEMA eventlog;
CREATE SCHEMA eventsourcing;

-- Which log this is. A restore, or a promotion that may have lost commits, raises the incarnation.
CREATE TABLE eventlog.identity (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    log         text    NOT NULL,
    incarnation integer NOT NULL DEFAULT 1 CHECK (incarnation > 0)
);

CREATE TABLE eventlog.events (
    position       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream_id      text        COLLATE "C" NOT NULL CHECK (octet_length(stream_id) BETWEEN 1 AND 255),
    version        bigint      NOT NULL CHECK (version > 0),
    event_id       uuid        NOT NULL,
    command_id     uuid        NOT NULL,
    type           text        NOT NULL,
    schema_version smallint    NOT NULL,
    data           jsonb       NOT NULL,
    metadata       jsonb       NOT NULL,
    recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (stream_id, version)
);

-- The answer to every command that was decided, refusals included, so that a repeat gets the first answer.
CREATE TABLE eventlog.command_results (
    scope        text        COLLATE "C" NOT NULL,
    command_id   uuid        NOT NULL,
    request_hash bytea       NOT NULL,
    outcome      json        NOT NULL,
    position     bigint      NOT NULL,
    expires      boolean     NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- the id first: it alone tells nearly all rows apart, and compares faster than a text
    PRIMARY KEY (command_id, scope)
);
CREATE INDEX command_results_recorded_at ON eventlog.command_results USING brin (recorded_at);

CREATE FUNCTION eventlog.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'eventlog.% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege', HINT = 'Correct a fact by appending another event.';
END $$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON eventlog.events
    FOR EACH STATEMENT EXECUTE FUNCTION eventlog.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON eventlog.command_results
    FOR EACH STATEMENT EXECUTE FUNCTION eventlog.refuse_change();

-- Appends one batch, all or nothing, in one round trip.
--
--   c_*  one entry per command: its scope, id, request hash, outcome (NULL: not kept, yet looked up), and
--        whether the result may expire
--   r_*  every stream that a decision read, with the version it was read at (0: it did not exist)
--   e_*  the events, in order; e_version continues the version read
--   f_*  an event of the batch that this one was decided on before it was known to be in the log; NULL: none
--
-- Arrays are unnested in the select list, where they advance together row by row; as a table function each of
-- them would be copied into a table of its own first.
--
-- VOLATILE under READ COMMITTED: every statement below sees a snapshot taken after the lock, so the checks
-- read the present and not the past. The lock is held until the commit is visible, which makes the order of
-- positions the order of commits. Returns one row: `last_position` when the batch was appended, with the time
-- that its events record; else NULL there, and whether the batch that it stands on is missing, or the streams
-- that moved on and the commands that have an answer already. The positions of a batch follow each other without a hole, since they are drawn under the lock.
CREATE FUNCTION eventlog.append(
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
        SELECT e.stream, e.version, e.id, e.command, e.type, e.schema, e.data::jsonb, e.metadata::jsonb,
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

-- Forgets answers to clients that are older than `age`; answers to commands derived from events are kept for
-- as long as those events can be replayed, which is always.
CREATE FUNCTION eventlog.forget_command_results(age interval) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = eventlog, pg_temp AS $$
DECLARE forgotten bigint;
BEGIN
    IF age < interval '7 days' THEN
        RAISE EXCEPTION 'answers to clients are kept for 7 days at least';
    END IF;
    DELETE FROM command_results WHERE expires AND recorded_at < now() - age;
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    RETURN forgotten;
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA eventlog FROM PUBLIC;

CREATE TABLE eventsourcing.snapshots (
    stream_id     text        COLLATE "C" NOT NULL,
    state_version integer     NOT NULL,
    version       bigint      NOT NULL,
    state         jsonb       NOT NULL,
    taken_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stream_id, state_version)
);

-- How far a subscription has come in one log (or one partition of its topic).
CREATE TABLE eventsourcing.checkpoints (
    subscription text        COLLATE "C" NOT NULL,
    log          text        COLLATE "C" NOT NULL,
    partition    integer     NOT NULL DEFAULT 0,
    incarnation  integer     NOT NULL,
    position     bigint      NOT NULL CHECK (position >= 0),
    moved_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (subscription, log, partition)
);

-- Messages that a subscription could not handle, and the later ones of the same key that wait behind them.
CREATE TABLE eventsourcing.parked_messages (
    subscription text        COLLATE "C" NOT NULL,
    position     bigint      NOT NULL,
    message_id   uuid        NOT NULL,
    key          text        COLLATE "C" NOT NULL,
    message      jsonb       NOT NULL,
    -- NULL for a message that is parked only because an earlier one of its key is
    error        text,
    attempts     integer     NOT NULL DEFAULT 0,
    parked_at    timestamptz NOT NULL DEFAULT now(),
    redrive      boolean     NOT NULL DEFAULT false,
    PRIMARY KEY (subscription, position)
);
CREATE INDEX parked_messages_key ON eventsourcing.parked_messages (subscription, key, position);

-- Work that is due at a time: timers, and calls to the outside.
CREATE TABLE eventsourcing.tasks (
    queue        text        COLLATE "C" NOT NULL,
    task_id      uuid        NOT NULL,
    key          text        COLLATE "C" NOT NULL,
    payload      jsonb       NOT NULL,
    metadata     jsonb       NOT NULL,
    due_at       timestamptz NOT NULL,
    attempts     integer     NOT NULL DEFAULT 0,
    leased_until timestamptz,
    lease        uuid,
    last_error   text,
    PRIMARY KEY (queue, task_id)
);
CREATE INDEX tasks_due ON eventsourcing.tasks (queue, due_at);
CREATE INDEX tasks_key ON eventsourcing.tasks (queue, key);
