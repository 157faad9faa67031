# Has the master load haproxy.cfg. Where none runs there is nothing to do: it starts from the file.
[ ! -e run/haproxy.pid ] || kill -USR2 "$(cat run/haproxy.pid)"
