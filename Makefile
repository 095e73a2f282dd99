# The appliance's commands. On a fresh Debian 12: `make demo` or `make test`, nothing before them.
# Each long step leaves a stamp in build/, so that a second run takes seconds.

SHELL := /bin/bash
VENV := .venv
PYTHON := $(VENV)/bin/python
STAMPS := build/stamps

BUILD_PACKAGES := gcc libc6-dev libssl-dev python3-dev python3-venv
# AES-GCM at five times the speed of OpenSSL 3.0; only made for these processors, and done without elsewhere.
BUILD_PACKAGES += $(if $(filter x86_64,$(shell uname -m)),libipsec-mb-dev)
TEST_PACKAGES := chromium coturn dcmtk dicom3tools firefox-esr ffmpeg gir1.2-gst-plugins-bad-1.0 gstreamer1.0-nice gstreamer1.0-plugins-bad \
	gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly gstreamer1.0-tools iproute2 linuxptp orthanc orthanc-dicomweb prometheus python3-gst-1.0 \
	systemd tshark wireshark-common

# What is only measured beside us.
BENCH_PACKAGES := janus
# Services that Debian starts when it installs the packages above: here they are programs for tests, not servers of this machine.
SERVICES := coturn janus orthanc prometheus

PREFIX ?= /opt/appliance
CONFIG_DIR ?= /etc/appliance
UNIT_DIR ?= /etc/systemd/system
BIN_DIR ?= /usr/local/bin

.PHONY: build demo test fuzz bench bench-smoke install uninstall clean
.DEFAULT_GOAL := build

build: $(STAMPS)/extensions $(STAMPS)/viewer

demo: build
	@$(VENV)/bin/appliance demo

test: build $(STAMPS)/test-packages $(STAMPS)/test-python
	@echo "== tests"
	@$(PYTHON) -m pytest -n 2 --dist loadfile tests --ignore=tests/bench --ignore=tests/network --ignore=tests/system
	@# Real processes and browsers on a shared machine: what a stall of the machine broke is tried once more; what fails twice fails.
	@$(PYTHON) -m pytest --reruns 1 tests/network tests/system
	@cd appliance/viewer && npm test --silent

# Ten times as much hostile input as the tests give: more than a million mutated packets.
fuzz: build $(STAMPS)/test-packages $(STAMPS)/test-python
	@FUZZ_SCALE=10 $(PYTHON) -m pytest tests/fuzz
	@$(PYTHON) -m tests.fuzz.grains

bench: build $(STAMPS)/test-packages $(STAMPS)/bench-packages $(STAMPS)/test-python
	@$(PYTHON) -m pytest tests/bench --benchmark-only --benchmark-columns=min,median,stddev,ops --benchmark-sort=name
	@$(PYTHON) -m tests.bench

# A moment of every benchmark and row: that they still run, not how fast.
bench-smoke: build $(STAMPS)/test-packages $(STAMPS)/bench-packages $(STAMPS)/test-python
	@echo "== benchmarks, a moment of each"
	@$(PYTHON) -m pytest tests/bench -q --brief --benchmark-only --benchmark-min-rounds=1 --benchmark-max-time=0.1 --benchmark-warmup=off \
		--benchmark-columns=median,rounds --benchmark-sort=name
	@$(PYTHON) -m tests.bench --brief --json build/bench-smoke.json

# $(call install_packages,NAMES): installs the Debian packages that are missing, as root or with sudo. Services among them neither start nor are
# enabled, with systemd (masked meanwhile) or without (run level 1); one that was installed before stays as it is.
define install_packages
	missing=(); for name in $(1); do \
		dpkg-query -W -f='$${Status}' $$name 2>/dev/null | grep -q 'ok installed' || missing+=($$name); done; \
	if [ $${#missing[@]} -gt 0 ]; then \
		echo "== Debian packages: $${missing[*]}"; \
		if ! command -v apt-get >/dev/null; then echo "This is not Debian: install $${missing[*]} by hand."; exit 1; fi; \
		as_root=; if [ "$$(id -u)" != 0 ]; then as_root=sudo; \
			command -v sudo >/dev/null || { echo "Run as root, or install: $${missing[*]}"; exit 1; }; fi; \
		services=(); for name in $(SERVICES); do [[ " $${missing[*]} " != *" $$name "* ]] || services+=($$name); done; \
		[[ " $${missing[*]} " != *" linuxptp "* ]] || services+=(timemaster); \
		systemctl=true; if [ -d /run/systemd/system ] && [ $${#services[@]} -gt 0 ]; then systemctl="$$as_root systemctl --quiet"; fi; \
		$$systemctl mask --runtime $${services[@]}; \
		$$as_root apt-get update -qq && \
		$$as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $${missing[@]} >/dev/null; \
		installed=$$?; \
		$$systemctl unmask --runtime $${services[@]}; \
		$$systemctl disable $${services[@]}; \
		[ $$installed = 0 ] || exit 1; \
	fi
endef

$(STAMPS)/build-packages: Makefile
	@$(call install_packages,$(BUILD_PACKAGES))
	@command -v npm >/dev/null || { $(call install_packages,nodejs npm); }
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/test-packages: Makefile
	@$(call install_packages,$(TEST_PACKAGES))
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/bench-packages: Makefile
	@$(call install_packages,$(BENCH_PACKAGES))
	@mkdir -p $(STAMPS) && touch $@

# The extensions are built once, below, and not by each pip.
$(STAMPS)/python: pyproject.toml $(STAMPS)/build-packages
	@echo "== Python packages into $(VENV)"
	@test -x $(PYTHON) || python3 -m venv $(VENV)
	@$(VENV)/bin/pip install -q --disable-pip-version-check --progress-bar off "setuptools>=77" wheel "cython==3.3.1"
	@EXTENSIONS=none $(VENV)/bin/pip install -q --disable-pip-version-check --progress-bar off --no-build-isolation -e .
	@touch $@

$(STAMPS)/test-python: pyproject.toml tests/sdpoker/package-lock.json $(STAMPS)/python
	@echo "== Python packages of the tests"
	@EXTENSIONS=none $(VENV)/bin/pip install -q --disable-pip-version-check --progress-bar off --no-build-isolation -e '.[test]'
	@# An independent reading of ST 2110, for tests alone. It asks for Python 3.12 and runs on 3.11; NumPy, all that it needs, is there.
	@$(VENV)/bin/pip install -q --disable-pip-version-check --progress-bar off --no-deps --ignore-requires-python pyst2110==0.9.1
	@cd tests/sdpoker && npm ci --silent --no-audit --no-fund
	@touch $@

$(STAMPS)/extensions: $(STAMPS)/python setup.py $(wildcard cext/*.pyx cext/*.pxd cext/kernels/*)
	@echo "== C extensions"
	@$(PYTHON) setup.py -q build_ext --inplace -j 2 2>build/extensions.log || { cat build/extensions.log; exit 1; }
	@touch $@

$(STAMPS)/viewer: $(STAMPS)/build-packages $(filter-out appliance/viewer/dist% appliance/viewer/node_modules%,$(wildcard appliance/viewer/* appliance/viewer/src/* appliance/viewer/src/*/*))
	@echo "== viewer"
	@cd appliance/viewer && npm ci --silent --no-audit --no-fund && npm run --silent build
	@touch $@

install: build
	@PREFIX="$(PREFIX)" CONFIG_DIR="$(CONFIG_DIR)" UNIT_DIR="$(UNIT_DIR)" BIN_DIR="$(BIN_DIR)" DESTDIR="$(DESTDIR)" systemd/install.sh

uninstall:
	@PREFIX="$(PREFIX)" CONFIG_DIR="$(CONFIG_DIR)" UNIT_DIR="$(UNIT_DIR)" BIN_DIR="$(BIN_DIR)" DESTDIR="$(DESTDIR)" systemd/install.sh --remove

clean:
	rm -rf build $(VENV) appliance/viewer/dist appliance/viewer/node_modules cext/*.so cext/*.c *.egg-info
