#!/bin/bash
# Ends well when $BROKERS brokers answer, and fails after a minute or two.
set -u

for _ in $(seq 30); do
    answering=$(/opt/kafka/bin/kafka-broker-api-versions.sh --bootstrap-server kafka-1:9092 | grep -c '(id: ')
    echo "$answering of $BROKERS brokers answer"
    [ "$answering" -ge "$BROKERS" ] && exit 0
    sleep 2
done
exit 1
