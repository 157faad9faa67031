# Stops the app, if it runs, and starts it with the environment as it is rendered now. (Yours may say `systemctl restart`.)
if [ -e run/app.pid ]; then
  kill "$(cat run/app.pid)" 2>/dev/null
  while kill -0 "$(cat run/app.pid)" 2>/dev/null; do sleep 0.05; done
fi
set -a
. run/app.env
set +a
setsid python3 app.py >run/app.log 2>&1 </dev/null &
echo $! >run/app.pid
