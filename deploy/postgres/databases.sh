#!/bin/sh
# Runs once, when the server's data folder is made: a database for each service, which only its own two roles can enter.
# The owner makes tables; what the app may do there, `migrate` grants.
set -eu

password() { sed 's|^postgres://[^:]*:\([0-9a-f]*\)@.*$|\1|' "${SECRETS:-/run/secrets}/$1.url"; }

for service in product inventory order payment saga; do
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --dbname "${POSTGRES_DB:-postgres}" <<SQL
CREATE ROLE ${service}_owner LOGIN PASSWORD '$(password "$service-owner")';
CREATE ROLE ${service}_app LOGIN PASSWORD '$(password "$service-app")';
CREATE DATABASE storeline_$service OWNER ${service}_owner ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE storeline_$service FROM PUBLIC;
GRANT CONNECT ON DATABASE storeline_$service TO ${service}_app;
\connect storeline_$service
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
SQL
done
