-- The memory of the simulated payment provider. It stands for another company's database: nothing but the
-- simulator reads or writes it, and it knows of our orders only what a provider would be told.

-- A payment at the provider. Two authorizations under two idempotency keys are two payments, as they would be
-- in reality.
CREATE TABLE simulator_payments (
    reference text   PRIMARY KEY,
    order_id  uuid   NOT NULL,
    token     text   NOT NULL,
    currency  text   NOT NULL,
    amount    bigint NOT NULL CHECK (amount > 0),
    status    text   NOT NULL CHECK (status IN ('authorized', 'declined', 'captured', 'voided')),
    refunded  bigint NOT NULL DEFAULT 0 CHECK (refunded BETWEEN 0 AND amount)
);
CREATE INDEX simulator_payments_order ON simulator_payments (order_id);

-- Every call that reached the provider, by its idempotency key, and its metadata to find it by.
CREATE TABLE simulator_calls (
    idempotency_key uuid        PRIMARY KEY,
    order_id        uuid        NOT NULL,
    operation       text        NOT NULL,
    refund_id       text        NOT NULL DEFAULT '',
    token           text        NOT NULL,
    amount          bigint,
    sends           integer     NOT NULL DEFAULT 0,
    asks            integer     NOT NULL DEFAULT 0,
    -- NULL: nothing was done yet
    outcome         jsonb,
    received_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX simulator_calls_metadata ON simulator_calls (order_id, operation, refund_id);
