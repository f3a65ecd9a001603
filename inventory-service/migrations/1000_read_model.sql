-- What the reads of this service answer from. Both tables are projections of the log and can be made anew from it.

CREATE TABLE stock_levels (
    sku            text COLLATE "C" PRIMARY KEY,
    received       bigint      NOT NULL,
    restocked      bigint      NOT NULL,
    adjusted       bigint      NOT NULL,
    reserved       bigint      NOT NULL,
    committed      bigint      NOT NULL,
    shortfall_open boolean     NOT NULL,
    available      bigint      GENERATED ALWAYS AS (received + restocked + adjusted - reserved - committed) STORED,
    version        bigint      NOT NULL,
    updated_at     timestamptz NOT NULL
) WITH (fillfactor = 70);

CREATE INDEX stock_levels_shortfall ON stock_levels (sku) WHERE shortfall_open;

CREATE TABLE reservations (
    order_id   uuid        PRIMARY KEY,
    status     text        NOT NULL,
    lines      jsonb       NOT NULL,
    expires_at timestamptz,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 70);
