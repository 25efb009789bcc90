# Where no registry is: Debian's programs for the images that docker-compose.yml names, as far as it uses them.
FROM debian:bookworm-slim AS postgres
RUN apt-get update && apt-get install -y --no-install-recommends postgresql && rm -rf /var/lib/apt/lists/* && usermod -u 999 postgres 2>/dev/null || true
ENV PATH=/usr/lib/postgresql/15/bin:$PATH
RUN mkdir -p /var/lib/postgresql/data && chown -R postgres /var/lib/postgresql /var/run/postgresql
ENTRYPOINT ["sh", "-ec", "\
  export PGDATA=/var/lib/postgresql/data; chown postgres $PGDATA; \
  as() { setpriv --reuid=postgres --regid=postgres --clear-groups \"$@\"; }; \
  if [ ! -s $PGDATA/PG_VERSION ]; then \
    install -o postgres -m 400 $POSTGRES_PASSWORD_FILE /tmp/password; \
    as initdb -U $POSTGRES_USER --pwfile=/tmp/password -A scram-sha-256 -E UTF8 >/dev/null; \
    echo 'host all all all scram-sha-256' >>$PGDATA/pg_hba.conf; \
    PGPASSWORD=$(cat /tmp/password) as sh -c 'pg_ctl -sw -o \"-c listen_addresses=\" start && createdb -U $POSTGRES_USER $POSTGRES_DB && pg_ctl -sw stop'; \
  fi; \
  exec setpriv --reuid=postgres --regid=postgres --clear-groups postgres -c listen_addresses=*"]

FROM debian:bookworm-slim AS caddy
RUN apt-get update && apt-get install -y --no-install-recommends caddy && rm -rf /var/lib/apt/lists/*
ENV XDG_CONFIG_HOME=/config XDG_DATA_HOME=/data
ENTRYPOINT ["caddy", "run", "--config", "/etc/caddy/Caddyfile"]
