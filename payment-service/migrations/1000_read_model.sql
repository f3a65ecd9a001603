-- What people see of payments. It can be made again from the log at any time.

CREATE TABLE payments (
    order_id           uuid        PRIMARY KEY,
    -- Version of the stream that this row shows.
    version            bigint      NOT NULL CHECK (version > 0),
    -- NULL: only refusals so far, and no payment that could be shown.
    status             text        COLLATE "C",
    currency           text        COLLATE "C",
    amount             bigint,
    captured           bigint,
    refunded           bigint,
    reason             text,
    provider_reference text,
    created_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL,
    -- The fold so far, so that the next event needs nothing else. Nobody searches it, so it is kept as it was
    -- written.
    state              json        NOT NULL
);
CREATE INDEX payments_newest ON payments (created_at DESC, order_id DESC);
CREATE INDEX payments_newest_by_status ON payments (status, created_at DESC, order_id DESC);

CREATE TABLE refunds (
    order_id     uuid        NOT NULL REFERENCES payments,
    refund_id    text        COLLATE "C" NOT NULL,
    -- NULL: refused before it was known how much it would have been.
    amount       bigint,
    reason       text        NOT NULL,
    status       text        COLLATE "C" NOT NULL,
    requested_at timestamptz NOT NULL,
    PRIMARY KEY (order_id, refund_id)
);
