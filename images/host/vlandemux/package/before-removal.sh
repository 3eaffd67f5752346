#!/bin/sh
# Before removal, and not before an upgrade: the next build takes over what is pinned.
set -e
if [ "$1" = remove ]; then
  if [ -d /run/systemd/system ]; then
    systemctl disable --now vlandemux.service || true
  fi
  vlandemux detach || echo 'vlandemux detach failed: what it had pinned goes on' >&2
fi
