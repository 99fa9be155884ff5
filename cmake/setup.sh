#!/bin/sh
# Installs what a build needs and this Debian or Ubuntu machine lacks; further packages may be named as arguments.
# Elsewhere, or without the right to install, it says what is missing and leaves the rest to CMake.
set -u

command -v dpkg-query >/dev/null 2>&1 || exit 0

missing=
for package in g++ cmake ninja-build libeigen3-dev libxtensor-dev doctest-dev libcli11-dev nlohmann-json3-dev git \
  ca-certificates "$@"; do
  case $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) in
    installed) ;;
    *) missing="$missing $package" ;;
  esac
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null 2>&1; then
    echo "set-up: not root and no sudo; missing:$missing" >&2
    exit 0
  fi
  as_root=sudo
fi

echo "set-up: installing$missing"
log=$(mktemp)
# shellcheck disable=SC2086  # a list of words
if ! { $as_root apt-get update -qq; $as_root env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1; then
  cat "$log" >&2
  echo "set-up: could not install$missing" >&2
  rm -f "$log"
  exit 1
fi
rm -f "$log"
