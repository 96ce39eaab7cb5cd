# Owns the directory of one database server and the server itself. Both are gone when this ends, and this ends when
# its standard input does: when whoever started it closes the pipe, or dies in any way.
#
#   sh guard.sh FOLDER OWNER SIGNAL     a directory in FOLDER, given to OWNER if one is named; SIGNAL ends the server
#
# Each line of standard input calls one of the functions below. Each answers with one line.
owner=$2 signal=$3 server=

# A signal to the guard itself ends it too, and everything it owns.
trap 'exit 1' HUP INT TERM
trap end EXIT

# A child that has ended stays a zombie until it is waited for: its process id cannot become another's meanwhile.
runs() {
  case $(cat "/proc/$1/stat" 2>/dev/null) in
    '' | *') Z '* | *') X '*) return 1 ;;
  esac
}

gone() {
  until ! runs "$1"; do sleep 0.02; done
}

# prepare COMMAND...: runs it to its end. Answers with its status.
prepare() {
  "$@" </dev/null >>"$dir/server.log" 2>&1
  echo "$?"
}

# serve COMMAND...: starts the server, when no other runs. Answers with its process id.
serve() {
  [ -z "$server" ] || wait "$server"
  "$@" </dev/null >>"$dir/server.log" 2>&1 &
  server=$!
  echo "$server"
}

# crash: kills the server and its children, so that none can act on the death of another.
crash() {
  kill -s STOP "$server"
  children=$(cat "/proc/$server/task/$server/children" 2>/dev/null)
  # shellcheck disable=SC2086 # a list of process ids
  kill -s KILL $children "$server"
  wait "$server"
  server=
  for child in $children; do gone "$child"; done
  echo crashed
}

end() {
  trap '' HUP INT TERM
  if [ -n "$server" ]; then
    kill -s "$signal" "$server"
    tries=0
    while runs "$server" && [ "$tries" -lt 500 ]; do
      sleep 0.02
      tries=$((tries + 1))
    done
    kill -s KILL "$server"
    wait "$server"
  fi
  # A killed PostgreSQL leaves a piece of shared memory, whose number is in its lock file.
  segment=$(sed -n '7s/.* //p' "$dir/data/postmaster.pid")
  [ -z "$segment" ] || ipcrm -m "$segment"
  rm -rf "$dir"
}

dir=$(mktemp -d "$1/sync-test.XXXXXX") || exit 1
[ -z "$owner" ] || chown "$owner" "$dir" || exit 1
cd /
echo "$dir"
while read -r order; do
  eval "$order"
done
