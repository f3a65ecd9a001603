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
    refunded  bigint NOT NULL DEFAULT 0 CHECK (refunded BETWEEN 0 AND amount),
    -- What its token makes of each kind of call: {"capture": {"lost": 0, "failures": 2, "refusal": null}, ...}.
    -- NULL: all goes well.
    script    jsonb
-- Each payment is updated once at least: leave room for that on its page.
) WITH (fillfactor = 60);

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
    -- The send that did it; NULL: nothing was done yet.
    done_by         integer,
    outcome         text        CHECK (outcome IN ('authorized', 'declined', 'captured', 'capture_failed', 'voided',
                                                   'refunded', 'refund_failed')),
    reason          text,
    received_at     timestamptz NOT NULL DEFAULT now(),
    CHECK ((done_by IS NULL) = (outcome IS NULL))
);
CREATE INDEX simulator_calls_order ON simulator_calls (order_id);

-- Takes a call in, in one round trip: answers a known key as before, does a new one unless the payment's script
-- has this send lost or fail. A caller that gives a token and a script opens a payment under `p_reference`, any
-- other means the one that is there.
--
-- The same call sent twice at once waits here for the first, at the row of its payment or of its key.
CREATE FUNCTION simulator_receive(
    p_key uuid, p_order_id uuid, p_operation text, p_refund_id text, p_reference text, p_amount bigint,
    p_currency text, p_token text, p_script jsonb,
    OUT token text, OUT sends integer, OUT newly_done boolean, OUT outcome text, OUT reason text
) LANGUAGE plpgsql AS $$
DECLARE
    payment simulator_payments;
    plays   jsonb;
    refusal text;
    vain    integer;
BEGIN
    -- What was done and not recorded by the payment service may be forgotten in a crash: nobody knows of it. An
    -- outcome that is recorded stands behind this transaction in the same write-ahead log, so the disk has both.
    PERFORM set_config('synchronous_commit', 'off', true);
    IF p_operation <> 'authorize' THEN
        SELECT * INTO payment FROM simulator_payments p WHERE p.reference = p_reference FOR NO KEY UPDATE;
    END IF;
    token   := coalesce(p_token, payment.token, '');
    plays   := coalesce(p_script, payment.script) -> p_operation;
    refusal := plays ->> 'refusal';
    vain    := coalesce((plays ->> 'lost')::integer + (plays ->> 'failures')::integer, 0);

    CASE p_operation
    WHEN 'authorize' THEN
        outcome := CASE WHEN refusal IS NULL THEN 'authorized' ELSE 'declined' END;
        reason  := refusal;
    WHEN 'capture' THEN
        reason  := CASE WHEN payment.reference IS NULL THEN 'NO_SUCH_PAYMENT'
                        WHEN payment.status <> 'authorized' THEN 'PAYMENT_' || upper(payment.status)
                        WHEN payment.amount <> p_amount THEN 'AMOUNT_MISMATCH'
                        ELSE refusal END;
        outcome := CASE WHEN reason IS NULL THEN 'captured' ELSE 'capture_failed' END;
    WHEN 'void' THEN
        outcome := CASE payment.status WHEN 'captured' THEN 'captured' ELSE 'voided' END;
    WHEN 'refund' THEN
        reason  := CASE WHEN payment.status IS DISTINCT FROM 'captured' THEN 'NOTHING_CAPTURED'
                        WHEN refusal IS NOT NULL THEN refusal
                        WHEN p_amount > payment.amount - payment.refunded THEN 'AMOUNT_EXCEEDS_CAPTURE' END;
        outcome := CASE WHEN reason IS NULL THEN 'refunded' ELSE 'refund_failed' END;
    END CASE;

    -- That is what a send would do now that is not in vain, and is the first of those.
    INSERT INTO simulator_calls AS c
           (idempotency_key, order_id, operation, refund_id, token, amount, sends, done_by, outcome, reason)
    VALUES (p_key, p_order_id, p_operation, p_refund_id, simulator_receive.token, p_amount, 1,
            CASE WHEN vain < 1 THEN 1 END, CASE WHEN vain < 1 THEN simulator_receive.outcome END,
            CASE WHEN vain < 1 THEN simulator_receive.reason END)
    ON CONFLICT (idempotency_key) DO UPDATE
       SET sends   = c.sends + 1,
           done_by = CASE WHEN c.done_by IS NULL AND vain <= c.sends THEN c.sends + 1 ELSE c.done_by END,
           outcome = CASE WHEN c.done_by IS NULL AND vain <= c.sends THEN simulator_receive.outcome ELSE c.outcome END,
           reason  = CASE WHEN c.done_by IS NULL AND vain <= c.sends THEN simulator_receive.reason ELSE c.reason END
    RETURNING c.sends, c.done_by IS NOT DISTINCT FROM c.sends, c.outcome, c.reason
         INTO sends, newly_done, outcome, reason;

    IF NOT newly_done THEN
        RETURN;
    END IF;
    IF p_operation = 'authorize' THEN
        INSERT INTO simulator_payments (reference, order_id, token, currency, amount, status, script)
        VALUES (p_reference, p_order_id, simulator_receive.token, p_currency, p_amount, simulator_receive.outcome,
                p_script);
    ELSIF p_operation = 'refund' AND outcome = 'refunded' THEN
        UPDATE simulator_payments p SET refunded = p.refunded + p_amount WHERE p.reference = p_reference;
    ELSIF outcome IN ('captured', 'voided') AND payment.status = 'authorized' THEN
        UPDATE simulator_payments p SET status = simulator_receive.outcome WHERE p.reference = p_reference;
    END IF;
END $$;
