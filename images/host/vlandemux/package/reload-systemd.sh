#!/bin/sh
# After installation and after removal: systemd reads its unit files again.
set -e
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi
