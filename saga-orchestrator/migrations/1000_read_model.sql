-- Where every saga stands, for lists and gauges. It follows the log; a single saga is read from its stream.
CREATE TABLE sagas (
    -- checkout-ORDER or cancellation-ORDER
    saga_id     text        COLLATE "C" PRIMARY KEY,
    status      text        NOT NULL
                CHECK (status IN ('running', 'compensating', 'completed', 'compensated', 'stuck')),
    open_step   text,
    -- how often the open step was sent, and when first
    attempts    integer     NOT NULL DEFAULT 0,
    step_since  timestamptz,
    deadline    timestamptz,
    -- why it compensates, and why it is stuck
    turned_back text,
    stuck       text,
    definition  integer     NOT NULL,
    started_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    version     bigint      NOT NULL
-- Every saga is updated a dozen times at once: leave room for that on its page.
) WITH (fillfactor = 60);

CREATE INDEX sagas_newest ON sagas (started_at, saga_id);
-- Lists and gauges of one status; completed sagas are most of them.
CREATE INDEX sagas_by_status ON sagas (status, started_at, saga_id);
