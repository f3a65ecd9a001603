#!/bin/sh
# Dumps the databases of all services as they were at one moment, while orders go on: sh deploy/backup.sh FOLDER
#
# One dump after the other would not do: some service would have answered what the dump of another does not hold. So all
# appends are held back for the milliseconds in which each database's snapshot is taken, and every database is dumped from
# its own. STORELINE_SAGA_OWNER_URL, and so on for each service, are the addresses of the databases as their owners.
set -eu

services="saga order product inventory payment"
# What every append locks in its log's database (eventlog.append).
lock=7310577125410
# Looks, twenty a second, for an answer of PostgreSQL.
looks=600

folder=${1:?"usage: backup.sh FOLDER"}
mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

url() { eval "printf '%s' \"\${STORELINE_$(printf '%s' "$1" | tr '[:lower:]' '[:upper:]')_OWNER_URL:?}\""; }

# Has every session run a statement, and waits until all have answered into files that end in .$1.
all() {
    descriptor=3
    for service in $services; do
        printf "%s \\\\g %s\n" "$2" "$work/$service.$1" >&"$descriptor"
        descriptor=$((descriptor + 1))
    done
    for service in $services; do
        tries=0
        until [ -s "$work/$service.$1" ]; do
            tries=$((tries + 1))
            if [ -s "$work/$service.errors" ] || [ "$tries" -gt "$looks" ]; then
                echo "backup.sh: $service: $(cat "$work/$service.errors")" >&2
                exit 1
            fi
            sleep 0.05
        done
    done
}

# A session for each database. No child has another's pipe: if this script ends, however it ends, every pipe is closed, the
# sessions end with them, and nothing is held back any more.
descriptor=3
for service in $services; do
    mkfifo "$work/$service.pipe"
    psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 --dbname "$(url "$service")" \
        < "$work/$service.pipe" > "$work/$service.printed" 2> "$work/$service.errors" 3>&- 4>&- 5>&- 6>&- 7>&- &
    eval "exec $descriptor> \"$work/$service.pipe\""
    descriptor=$((descriptor + 1))
done

all locked "SELECT pg_advisory_lock($lock)"
for descriptor in 3 4 5 6 7; do
    echo "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;" >&"$descriptor"
done
all snapshot "SELECT pg_export_snapshot()"
all unlocked "SELECT pg_advisory_unlock($lock)"

for service in $services; do
    pg_dump --format custom --snapshot "$(cat "$work/$service.snapshot")" --file "$folder/$service.dump" \
        --dbname "$(url "$service")" 3>&- 4>&- 5>&- 6>&- 7>&-
done
echo "the databases of one moment are in $folder"
