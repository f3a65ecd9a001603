-- What the order service keeps beside its event log: its copy of the catalogue, the orders as they are read,
-- and the keys of sealed personal data. The first two can be made again from feeds; the keys cannot.

-- Products that were ever published, in the words of the catalogue's events.
CREATE TABLE catalogue_products (
    product_id   text    COLLATE "C" PRIMARY KEY,
    name         text    NOT NULL,
    discontinued boolean NOT NULL DEFAULT false
);

-- What can be ordered, with the price that counts.
CREATE TABLE catalogue_variants (
    sku        text    COLLATE "C" PRIMARY KEY,
    product_id text    COLLATE "C" NOT NULL REFERENCES catalogue_products,
    title      text    NOT NULL,
    currency   text    NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    unit_price bigint  NOT NULL CHECK (unit_price >= 0)
);

CREATE TABLE orders (
    order_id               uuid        PRIMARY KEY,
    version                bigint      NOT NULL,
    status                 text        NOT NULL,
    customer_id            text        COLLATE "C",
    lines                  jsonb       NOT NULL,
    amounts                jsonb       NOT NULL,
    currency               text        NOT NULL,
    total                  bigint      NOT NULL,
    -- the contact, sealed under the key of key_subject
    sealed_contact         text        NOT NULL,
    key_subject            text        COLLATE "C" NOT NULL,
    reason                 text,
    cancellation_requested boolean     NOT NULL DEFAULT false,
    placed_at              timestamptz NOT NULL,
    updated_at             timestamptz NOT NULL
);
CREATE INDEX orders_by_status ON orders (status, order_id DESC);
CREATE INDEX orders_by_customer ON orders (customer_id, order_id DESC) WHERE customer_id IS NOT NULL;
CREATE INDEX orders_open ON orders (customer_id) WHERE status = 'pending' AND customer_id IS NOT NULL;

-- Keys that personal data is sealed under, one for each customer and each guest's order. Deleting one forgets
-- the person. A key stands here wrapped under a master key, which is not in the database.
CREATE TABLE personal_data_keys (
    subject      text        COLLATE "C" PRIMARY KEY,
    sealed_key   bytea       NOT NULL,
    -- which master key wraps it
    master_key   bytea       NOT NULL,
    -- the order that was sealed last, or is being placed; so a key that a failed attempt made is only removed
    -- while nobody else has used it
    last_used_by uuid        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now()
);
