#!/bin/sh
# What a session of the bench serves: a page and a file, by nginx, to those who know the session's password.
set -eu
head -c 4096 /dev/zero | tr '\0' 'p' >page
head -c 1048576 /dev/zero | tr '\0' 'f' >file
own=$(printf 'opencode:%s' "$OPENCODE_SERVER_PASSWORD" | base64 -w 0)
cat >/tmp/nginx.conf <<CONF
daemon off;
# With a master it would write over the environment by which it is known whose it is.
master_process off;
pid /tmp/nginx.pid;
error_log stderr error;
events { worker_connections 512; }
http {
    access_log off;
    sendfile on;
    keepalive_requests 1000000000;
    client_body_temp_path /tmp/body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    server {
        listen $HOST:$PORT backlog=512;
        root $PWD;
        default_type text/html;
        if (\$http_authorization != "Basic $own") { return 401; }
        location = / { return 200 "here"; }
    }
}
CONF
# Where Debian has it.
PATH=$PATH:/usr/sbin exec nginx -e stderr -c /tmp/nginx.conf
