#!/usr/bin/env bash
# Gets what the browser tests need: chromium from the system, playwright-core from npm.
# Ends with 1 and one sentence when something cannot be had; the tests then skip and say so.
set -uo pipefail
cd "$(dirname "$0")"

give_up() {
  echo "browser tests will be skipped: $1" >&2
  exit 1
}

browser() { command -v chromium || command -v chromium-browser || command -v google-chrome; }

if ! browser >/dev/null; then
  command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] ||
    give_up "no chromium here, and it can be installed only by root with apt-get"
  export DEBIAN_FRONTEND=noninteractive
  echo "installing chromium" >&2
  { apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium fonts-liberation; } \
    >/dev/null || give_up "apt-get could not install chromium"
fi
command -v npm >/dev/null || give_up "no npm here"
npm install --silent --no-progress >/dev/null || give_up "npm could not install playwright-core"
