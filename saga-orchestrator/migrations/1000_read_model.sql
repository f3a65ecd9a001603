-- Where every saga stands, for lists and gauges. It follows the log; a single saga is read from its stream.
CREATE TABLE sagas (
    -- checkout-ORDER or cancellation-ORDER
    saga_id    text        COLLATE "C" PRIMARY KEY,
    -- what the next event is folded onto; the columns below are made from it. Nobody searches it, so it is kept
    -- as it was written
    state      json        NOT NULL,
    status     text        NOT NULL
               CHECK (status IN ('running', 'compensating', 'completed', 'compensated', 'stuck')),
    -- NULL at the end
    open_step  text,
    attempts   integer     NOT NULL,
    deadline   timestamptz,
    reason     text        NOT NULL,
    definition integer     NOT NULL,
    started_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version    bigint      NOT NULL
-- A saga is updated several times at once: leave room for that on its page.
) WITH (fillfactor = 60);

CREATE INDEX sagas_newest ON sagas (started_at, saga_id);
-- Lists and gauges of one status; completed sagas are most of them.
CREATE INDEX sagas_by_status ON sagas (status, started_at, saga_id);
