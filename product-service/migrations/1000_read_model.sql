-- What the reads of this service answer from. All tables are projections and can be made anew: `availability` from
-- inventory's published events, the others from this service's log.

CREATE TABLE products (
    -- UUIDv7: the newest product has the highest id, which is the order of lists.
    product_id    uuid        PRIMARY KEY,
    handle        text        COLLATE "C" NOT NULL UNIQUE,
    name          text        NOT NULL,
    description   text        NOT NULL,
    brand         text        COLLATE "C" NOT NULL,
    category_path jsonb       NOT NULL,
    -- The path joined by ` > `: a subtree is a range of it.
    category      text        COLLATE "C" NOT NULL,
    supplier      text        COLLATE "C" NOT NULL,
    attributes    jsonb       NOT NULL,
    tags          jsonb       NOT NULL,
    images        jsonb       NOT NULL,
    status        text        COLLATE "C" NOT NULL,
    options       jsonb       NOT NULL,
    currency      text        COLLATE "C" NOT NULL,
    variant_count integer     NOT NULL DEFAULT 0,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    -- Of the product's stream, with the last event that is in this row.
    version       bigint      NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX products_status ON products (status, product_id DESC);
CREATE INDEX products_brand ON products (brand, status, product_id DESC);
CREATE INDEX products_supplier ON products (supplier, status, product_id DESC);
CREATE INDEX products_category ON products (category);

CREATE TABLE variants (
    sku           text    COLLATE "C" PRIMARY KEY,
    -- Without a foreign key: a product's events come in order, and the check would cost a third of an insert.
    product_id    uuid    NOT NULL,
    -- In the order in which they were added.
    ordinal       integer NOT NULL,
    option_values jsonb   NOT NULL,
    price         bigint  NOT NULL,
    currency      text    COLLATE "C" NOT NULL,
    barcode       text,
    UNIQUE (product_id, ordinal)
);
CREATE INDEX variants_price ON variants (currency, price, product_id);

CREATE TABLE price_history (
    product_id uuid        NOT NULL,
    -- Of the event, and the variant's place in it.
    position   bigint      NOT NULL,
    ordinal    integer     NOT NULL,
    sku        text        COLLATE "C" NOT NULL,
    price      bigint      NOT NULL,
    -- NULL for the first price.
    previous   bigint,
    currency   text        COLLATE "C" NOT NULL,
    reason     text        NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (product_id, position, ordinal)
);
CREATE INDEX price_history_sku ON price_history (sku, position, ordinal);

-- Also of SKUs that no product has, since inventory may know them first.
CREATE TABLE availability (
    sku      text    COLLATE "C" PRIMARY KEY,
    in_stock boolean NOT NULL
);
CREATE INDEX availability_in_stock ON availability (sku) WHERE in_stock;
