-- What the provider has answered, it remembers also after a crash of the database. It used to rely on the outcome being
-- recorded behind it in the same write-ahead log; but a payment service that goes on while the database crashes records
-- the outcome afterwards, when what the provider did is lost.
--
-- With a setting of the function's own, what its body sets ends with it, and the commit is the session's, which waits
-- for the disk.
ALTER FUNCTION simulator_receive SET synchronous_commit = on;
