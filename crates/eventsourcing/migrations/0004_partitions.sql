-- Subscriptions by partition. What a subscription has done stays per (subscription, log, partition); a log is one
-- partition, number 0, as before. A program from before goes on working on these tables: it reads and moves partition 0
-- and parks into it, which is right for as long as feeds are logs.

-- Where to read on in the source of a feed that is not a log: Kafka's number of the next record. NULL: from its beginning.
ALTER TABLE eventsourcing.checkpoints ADD COLUMN resume bigint CHECK (resume >= 0);

-- A key belongs to one partition, and whoever handles that partition handles what is parked of it.
ALTER TABLE eventsourcing.parked_messages ADD COLUMN partition integer NOT NULL DEFAULT 0;
