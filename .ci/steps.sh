# How the scripts of this repository run their steps and get their tools. Sourced by ./test and .ci/run.
# shellcheck shell=bash

# Tools that are missing are built into the target folder, so that nothing is left in the home of whoever runs this.
tools=${CARGO_TARGET_DIR:-target}/tools
mkdir -p "$tools"
tools=$(cd "$tools" && pwd)
export PATH="$PATH:$tools/bin"

failed_steps=()

# step TITLE COMMAND...: runs a command or function, and says how long it took. A failed step ends the script, unless
# `keep_going` is set: then it is remembered in `failed_steps`.
step() {
  local title=$1 began=$SECONDS status
  shift
  printf '\n==> %s\n' "$title"
  # The subshell stands outside any condition: bash ignores `set -e` inside one, and a step would go on past a failure.
  set +e
  (set -e; "$@")
  status=$?
  set -e
  if ((status == 0)); then
    printf '    ok: %s, %d s\n' "$title" $((SECONDS - began))
    return
  fi
  printf '    FAILED: %s, %d s\n' "$title" $((SECONDS - began))
  failed_steps+=("$title")
  if [[ -z ${keep_going:-} ]]; then
    exit "$status"
  fi
}

# cargo_tool NAME VERSION: builds a cargo subcommand from source if none is installed. Unoptimised, because that takes
# half the time and these tools have little to do.
cargo_tool() {
  local name=$1 version=$2
  if command -v "$name" >/dev/null; then
    return
  fi
  echo "$name is not installed: building $name $version into $tools (a minute or two)"
  # What two tools have in common is built once.
  CARGO_TARGET_DIR=$tools/build CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug --root "$tools" --version "$version" "$name"
}

# as_root COMMAND...: runs a command as root, through sudo if need be.
as_root() {
  if ((EUID == 0)); then
    "$@"
  else
    sudo "$@"
  fi
}

# apt_or_advice PACKAGE...: fails where apt cannot be used, and says what is needed.
apt_or_advice() {
  if ! command -v apt-get >/dev/null || { ((EUID != 0)) && ! command -v sudo >/dev/null; }; then
    echo "please install these packages, or your system's equivalent, and run this again: apt-get install $*" >&2
    return 1
  fi
}

# apt_packages PACKAGE...: installs Debian packages, as root or through sudo.
apt_packages() {
  apt_or_advice "$@" || return 1
  echo "installing with apt: $*"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@"
}

# sample_data: finds the Chinook sample database, which is no part of this repository, and names its folder in CHINOOK.
# The test that reads it skips itself where there is none, and fails where CHINOOK names a folder that is not there.
sample_data() {
  local folder=${CHINOOK:-../shared/data/chinook}
  if [[ -d $folder ]]; then
    CHINOOK=$(cd "$folder" && pwd)
    export CHINOOK
  elif [[ -n ${CHINOOK:-} ]]; then
    echo "CHINOOK names $CHINOOK, which is no folder" >&2
    return 1
  fi
}

# skipped_tests: says which tests were left out for want of something, and the remedy.
skipped_tests() {
  if [[ -z ${CHINOOK:-} && ! -d ../shared/data/chinook ]]; then
    printf '\nSKIPPED: 1 test, of the Chinook sample database. It reads the JSON Lines in the folder that CHINOOK names,\n'
    printf 'or in ../shared/data/chinook, and neither is there.\n'
  fi
}
