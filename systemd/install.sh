#!/usr/bin/env bash
# Installs the built tree as a service (called by `make install`), or removes it (--remove). Configuration and state are kept.
set -euo pipefail
umask 022
cd "$(dirname "$0")/.."
: "${PREFIX:=/opt/appliance}" "${CONFIG_DIR:=/etc/appliance}" "${UNIT_DIR:=/etc/systemd/system}" "${BIN_DIR:=/usr/local/bin}" "${DESTDIR:=}"
state_dir=/var/lib/appliance

running_systemd() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; }
if [ -z "$DESTDIR" ] && [ "$(id -u)" != 0 ]; then
	echo "make install writes to $PREFIX and $CONFIG_DIR: run it as root (sudo make install)." >&2
	exit 1
fi

if [ "${1:-}" = --remove ]; then
	if running_systemd; then systemctl disable --now appliance.service || true; fi
	rm -rf "${DESTDIR:?}$PREFIX" "$DESTDIR$UNIT_DIR/appliance.service" "$DESTDIR/usr/lib/sysusers.d/appliance.conf" \
		"$DESTDIR/usr/lib/sysctl.d/60-appliance.conf" "$DESTDIR$BIN_DIR/appliance"
	if running_systemd; then systemctl daemon-reload; fi
	echo "Removed. Kept: $CONFIG_DIR (configuration) and $state_dir (keys, state)."
	exit 0
fi

# The service runs as another user: Debian's Python serves it where the compiled extensions fit, a Python in somebody's home does not.
abi() { "$1" -c 'import sysconfig; print(sysconfig.get_config_var("SOABI"))' 2>/dev/null; }
python=/usr/bin/python3
if [ "$(abi $python)" != "$(abi .venv/bin/python)" ]; then
	python=$(realpath .venv/bin/python)
	case $python in /root/* | /home/*)
		echo "The appliance was built with $python, which the service's user cannot reach. Build it with Debian's /usr/bin/python3 (make clean build)." >&2
		exit 1 ;;
	esac
fi

echo "== $DESTDIR$PREFIX"
install -d "$DESTDIR$PREFIX" "$DESTDIR$CONFIG_DIR" "$DESTDIR$UNIT_DIR" "$DESTDIR$BIN_DIR" "$DESTDIR/usr/lib/sysusers.d" "$DESTDIR/usr/lib/sysctl.d"
# The new environment is whole before it takes the old one's place; a running appliance keeps what it has open.
fresh=$DESTDIR$PREFIX/.venv.new
rm -rf "$fresh"
"$python" -m venv --without-pip "$fresh"
packages=$("$fresh/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
.venv/bin/python systemd/packages.py "$packages"
"$fresh/bin/python" -m compileall -q -s "$packages" -p "$PREFIX/.venv${packages#"$fresh"}" "$packages"
cat >"$fresh/bin/appliance" <<SCRIPT
#!$PREFIX/.venv/bin/python
from appliance.__main__ import main
main()
SCRIPT
chmod 755 "$fresh/bin/appliance"
rm -f "$fresh"/bin/[Aa]ctivate*  # they name the folder that is renamed now
rm -rf "$DESTDIR$PREFIX/.venv"
mv "$fresh" "$DESTDIR$PREFIX/.venv"
ln -sfn "$PREFIX/.venv/bin/appliance" "$DESTDIR$BIN_DIR/appliance"

install -m 0644 README.md ARCHITECTURE.md LICENSE CHANGELOG.md "$DESTDIR$PREFIX/"
rm -rf "$DESTDIR$PREFIX/monitoring"
cp -r monitoring "$DESTDIR$PREFIX/"
install -m 0644 systemd/appliance.service "$DESTDIR$UNIT_DIR/appliance.service"
sed -i "s#/opt/appliance#$PREFIX#g; s#/etc/appliance#$CONFIG_DIR#g" "$DESTDIR$UNIT_DIR/appliance.service"
install -m 0644 systemd/appliance.sysusers "$DESTDIR/usr/lib/sysusers.d/appliance.conf"
install -m 0644 systemd/60-appliance.conf "$DESTDIR/usr/lib/sysctl.d/60-appliance.conf"
if [ ! -e "$DESTDIR$CONFIG_DIR/appliance.toml" ]; then
	install -m 0640 systemd/appliance.toml "$DESTDIR$CONFIG_DIR/appliance.toml"
	echo "== $DESTDIR$CONFIG_DIR/appliance.toml (an example: name your SDP files in it)"
fi
if [ -z "$DESTDIR" ] && command -v systemd-sysusers >/dev/null; then
	systemd-sysusers /usr/lib/sysusers.d/appliance.conf
	# The configuration may hold a TURN server's password; the keys are the service's alone.
	chgrp appliance "$CONFIG_DIR/appliance.toml"
	install -d -o appliance -g appliance -m 0700 "$state_dir"
fi
if running_systemd; then
	sysctl -q --load /usr/lib/sysctl.d/60-appliance.conf || echo "The kernel refused the socket buffer sizes; ingest will say so."
	systemctl daemon-reload
fi
cat <<TEXT
Installed. Next:
  1. edit $CONFIG_DIR/appliance.toml and put the SDP files beside it
  2. sudo -u appliance appliance check
  3. systemctl enable --now appliance        (after an update: systemctl restart appliance)
  4. sudo -u appliance appliance token --role expert --stream NAME --link
TEXT
