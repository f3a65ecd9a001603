-- How far the events of this log were copied into a topic elsewhere, and what stands in the way.
CREATE TABLE eventsourcing.relays (
    topic           text        COLLATE "C" PRIMARY KEY,
    log             text        COLLATE "C" NOT NULL,
    incarnation     integer     NOT NULL,
    -- Nothing up to it is missing in the topic.
    position        bigint      NOT NULL DEFAULT 0 CHECK (position >= 0),
    -- Where each partition began, and ended when everything up to the position was acknowledged.
    begins          bigint[]    NOT NULL DEFAULT '{}',
    ends            bigint[]    NOT NULL DEFAULT '{}',
    -- Raised by every relay that begins. What an earlier one stores has no effect any more.
    term            bigint      NOT NULL DEFAULT 0,
    state           text        NOT NULL DEFAULT 'RUNNING',
    problem         text,
    -- What an operator asks for: to fill the topic again from the beginning, or to go on after a position.
    wanted          text        CHECK (wanted IN ('refill', 'resume')),
    wanted_position bigint      CHECK (wanted_position >= 0),
    moved_at        timestamptz NOT NULL DEFAULT now()
);
