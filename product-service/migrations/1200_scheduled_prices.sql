-- Prices to come, as every view of a product shows them. A row leaves when its price takes effect or is withdrawn.

CREATE TABLE scheduled_prices (
    product_id   uuid        NOT NULL,
    schedule_id  uuid        NOT NULL,
    sku          text        COLLATE "C" NOT NULL,
    price        bigint      NOT NULL,
    currency     text        COLLATE "C" NOT NULL,
    effective_at timestamptz NOT NULL,
    reason       text        NOT NULL,
    PRIMARY KEY (product_id, schedule_id)
);

-- How many of them a product has: those with none, which are nearly all, are read without looking for any.
ALTER TABLE products ADD COLUMN scheduled_count integer NOT NULL DEFAULT 0;
