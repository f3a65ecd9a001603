#!/bin/sh
# Makes the secrets that docker-compose.yml mounts, each once: what is there stays. Keep a copy somewhere safe: without
# personal-data.keys nobody can read addresses any more, and without the passwords nobody gets into the databases.
# To rotate a token, write `new,old` into the file that ends in .tokens, restart the services, put the new one into
# operator.token, and take the old one out when nobody uses it any more.
set -eu

folder=${1:-$(dirname "$0")/secrets}
# The folder is for its owner alone. The files in it can be read by the programs' user in the containers, which has
# another number than whoever runs this.
mkdir -p "$folder"
chmod 700 "$folder"

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

secret() {
    [ -s "$folder/$1" ] && return
    printf '%s\n' "$2" > "$folder/$1.new"
    chmod 444 "$folder/$1.new"
    mv "$folder/$1.new" "$folder/$1"
}

for name in operator.token service.tokens order-token.keys personal-data.keys postgres.password grafana.password; do
    secret "$name" "$(random)"
done
# What the services take, and what an operator sends, are the same until it is rotated.
secret operator.tokens "$(cat "$folder/operator.token")"
# The owner of a database may change its tables, and only `migrate` logs in as it; the app may append and read.
for service in product inventory order payment saga; do
    for role in owner app; do
        secret "$service-$role.url" \
            "postgres://${service}_$role:$(random)@postgres:5432/storeline_$service"
    done
done
echo "secrets are in $folder"
