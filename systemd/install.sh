#!/usr/bin/env bash
# Installs the built tree as a service (called by `make install`), or removes it (--remove). Configuration and state are kept.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${PREFIX:=/opt/appliance}" "${CONFIG_DIR:=/etc/appliance}" "${UNIT_DIR:=/etc/systemd/system}" "${DESTDIR:=}"

running_systemd() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; }
if [ -z "$DESTDIR" ] && [ "$(id -u)" != 0 ]; then
	echo "make install writes to $PREFIX and $CONFIG_DIR: run it as root (sudo make install)."
	exit 1
fi

if [ "${1:-}" = --remove ]; then
	running_systemd && systemctl disable --now appliance.service || true
	rm -rf "${DESTDIR:?}$PREFIX" "$DESTDIR$UNIT_DIR/appliance.service" "$DESTDIR/usr/lib/sysusers.d/appliance.conf" \
		"$DESTDIR/usr/lib/sysctl.d/60-appliance.conf"
	running_systemd && systemctl daemon-reload || true
	echo "Removed. Kept: $CONFIG_DIR (configuration) and /var/lib/appliance (keys, state)."
	exit 0
fi

echo "== $DESTDIR$PREFIX"
install -d "$DESTDIR$PREFIX" "$DESTDIR$CONFIG_DIR" "$DESTDIR$UNIT_DIR" "$DESTDIR/usr/lib/sysusers.d" "$DESTDIR/usr/lib/sysctl.d"
rm -rf "$DESTDIR$PREFIX/.venv.new"
python3 -m venv "$DESTDIR$PREFIX/.venv.new"
# A wheel holds the program, the compiled extensions and the viewer; the service needs no source tree.
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
.venv/bin/pip wheel -q --disable-pip-version-check --no-build-isolation --no-deps -w "$wheels" .
"$DESTDIR$PREFIX/.venv.new/bin/pip" install -q --disable-pip-version-check "$wheels"/*.whl
rm -rf "$DESTDIR$PREFIX/.venv"
mv "$DESTDIR$PREFIX/.venv.new" "$DESTDIR$PREFIX/.venv"
# A virtual environment knows its own place: say the final one in its scripts.
grep -rlI "$DESTDIR$PREFIX/.venv.new" "$DESTDIR$PREFIX/.venv/bin" | xargs -r sed -i "s#$DESTDIR$PREFIX/.venv.new#$PREFIX/.venv#g"
install -m 0644 README.md ARCHITECTURE.md LICENSE CHANGELOG.md "$DESTDIR$PREFIX/"
cp -r monitoring "$DESTDIR$PREFIX/"
install -m 0644 systemd/appliance.service "$DESTDIR$UNIT_DIR/appliance.service"
sed -i "s#/opt/appliance#$PREFIX#g; s#/etc/appliance#$CONFIG_DIR#g" "$DESTDIR$UNIT_DIR/appliance.service"
install -m 0644 systemd/appliance.sysusers "$DESTDIR/usr/lib/sysusers.d/appliance.conf"
install -m 0644 systemd/60-appliance.conf "$DESTDIR/usr/lib/sysctl.d/60-appliance.conf"
if [ ! -e "$DESTDIR$CONFIG_DIR/appliance.toml" ]; then
	install -m 0644 systemd/appliance.toml "$DESTDIR$CONFIG_DIR/appliance.toml"
	echo "== $DESTDIR$CONFIG_DIR/appliance.toml (an example: name your SDP files in it)"
fi
if running_systemd; then
	systemd-sysusers
	sysctl -q --load /usr/lib/sysctl.d/60-appliance.conf || echo "The kernel refused the socket buffer sizes; ingest will say so."
	systemctl daemon-reload
fi
cat <<TEXT
Installed. Next:
  1. edit $CONFIG_DIR/appliance.toml and put the SDP files beside it
  2. sudo -u appliance $PREFIX/.venv/bin/appliance check --config $CONFIG_DIR/appliance.toml
  3. systemctl enable --now appliance
TEXT
