# Refuses an environment with which the app could not start. "$1" is the candidate.
limit=$(sed -n 's/^RATE_LIMIT_RPS=//p' "$1")
case $limit in
  '' | *[!0-9]*) echo "RATE_LIMIT_RPS must be a number, not '$limit'"; exit 1 ;;
esac
