-- What search answers from. All of it is made of `products` and `variants` by the projection that keeps those; the
-- folding of words and the numbers of terms are the program's (`application/search`).

CREATE TABLE product_search (
    product_id   uuid     PRIMARY KEY,
    -- Of the program's documents; those of another number are made again at the next start.
    format       smallint NOT NULL,
    status       text     COLLATE "C" NOT NULL,
    words        tsvector NOT NULL,
    -- What it can be filtered by and is counted in: brand, categories, supplier, options, bands of prices.
    terms        bigint[] NOT NULL,
    -- Its words in `search_words`, while it is active.
    vocabulary   text[]   NOT NULL,
    prices       bigint[] NOT NULL,
    lowest_price bigint   NOT NULL,
    currency     text     COLLATE "C" NOT NULL,
    name_key     text     COLLATE "C" NOT NULL,
    -- About how many bytes a reply with the product has.
    size         integer  NOT NULL
) WITH (fillfactor = 90);
-- The list of what is not merged yet is read by every search, so it is kept short.
CREATE INDEX product_search_words ON product_search USING gin (words, terms) WITH (gin_pending_list_limit = 512);
CREATE INDEX product_search_newest ON product_search (status, product_id DESC);
CREATE INDEX product_search_price ON product_search (status, currency, lowest_price, product_id);
CREATE INDEX product_search_name ON product_search (status, name_key, product_id);

-- Words of active products, for suggestions and for what may have been meant by a typing error.
CREATE TABLE search_words (
    word      text      COLLATE "C" PRIMARY KEY,
    products  integer   NOT NULL,
    -- What is left of the word when letters are deleted, as numbers.
    deletions integer[] NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX search_words_deletions ON search_words USING gin (deletions);

-- Terms that products have. The number is made of kind and value.
CREATE TABLE search_terms (
    term      bigint   PRIMARY KEY,
    kind      smallint NOT NULL,
    value     text     NOT NULL,
    words     tsvector NOT NULL,
    -- Active ones, and those of any status.
    products  integer  NOT NULL,
    documents integer  NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX search_terms_kind ON search_terms (kind, products DESC);
CREATE INDEX search_terms_words ON search_terms USING gin (words);
