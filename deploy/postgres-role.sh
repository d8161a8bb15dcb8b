#!/bin/sh
# Runs once, when the folder of the database is empty. The program works as a role that owns its databases and is no
# superuser; the superuser cannot log in over the network.
set -eu
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\getenv password POSTGRES_PASSWORD
CREATE ROLE aperture LOGIN CREATEDB PASSWORD :'password';
CREATE DATABASE aperture OWNER aperture;
ALTER ROLE CURRENT_USER PASSWORD NULL;
SQL
