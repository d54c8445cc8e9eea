# SPDX-License-Identifier: GPL-3.0-or-later
# Each target works as the first command of a fresh checkout. ARGS= passes more arguments on.

# Ansible refuses to start without UTF-8, and bare machines have no other such locale.
export LC_ALL := C.UTF-8
export PATH := $(CURDIR)/.venv/bin:$(PATH):/usr/sbin:/sbin
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.venv/collections
export PYTHON SUITE INVENTORY
# Each throwaway host runs Python several times, and there are hundreds of them.
unexport PYTHONDONTWRITEBYTECODE

PYTEST := .venv/bin/python -m pytest
TEST_COMMANDS := arping busybox conntrack dhclient dig dnsmasq ip iptables nft ping socat tcpdump unshare

.PHONY: help
help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

.PHONY: venv
venv: ## make .venv: Ansible, the test tools, and this checkout as wharf.network (PYTHON= chooses)
	@tools/need python conntrack ip nft ping unshare
	@tools/venv

.PHONY: demo
demo: venv ## build a throwaway host of namespaces, converge a topology in it and prove it with packets
	@tools/need dnsmasq
	@tools/preflight
	@.venv/bin/python tools/demo.py $(ARGS)

.PHONY: demo-fleet
demo-fleet: venv ## the same for three hosts with one network over them; one is killed, and comes back
	@tools/need dnsmasq nsenter
	@tools/preflight
	@.venv/bin/python tools/demo_fleet.py $(ARGS)

.PHONY: test
test: venv ## run all tests that need one machine
	@tools/need $(TEST_COMMANDS)
	@tools/unpack foreign-firewalls ufw firewalld dbus-daemon
	@tools/unpack openrc openrc systemd-sysv- # which OpenRC takes the place of
	@tools/old-nft
	@tools/want-dockerd
	@tools/preflight
	@$(PYTEST) -n 4 $(wildcard tests/unit tests/integration) $(ARGS)

.PHONY: test-vm
test-vm: venv ## run the molecule scenarios on VMs of Debian trixie (SUITE=), or those in SCENARIO=
	@tools/need libarchive mke2fs mmdebstrap pkill qemu-system-x86_64 ssh
	@tools/test-vm $(SCENARIO)

.PHONY: test-vm-all
test-vm-all: ## run all scenarios on VMs of each Debian that there are images of
	@$(MAKE) --no-print-directory test-vm SUITE=trixie
	@$(MAKE) --no-print-directory test-vm SUITE=bookworm
	@$(MAKE) --no-print-directory test-vm SUITE=forky

.PHONY: bench
bench: venv ## measure what networks cost beside peers, and write docs/performance.md (QUICK=1 tries it, in 2 minutes)
	@tools/need $(TEST_COMMANDS)
	@tools/want-dockerd
	@tools/want-peers
	@tools/preflight
	@.venv/bin/python tests/bench/page.py $(ARGS)

.PHONY: test-unit
test-unit: venv ## run the tests that need no namespaces
	@$(PYTEST) tests/unit $(ARGS)

.PHONY: test-awx
test-awx: venv ## set up a stub of AWX by the collection awx.awx, which this downloads (54 MB)
	@tools/awx-collection
	@$(PYTEST) -n 2 --dist load tests/awx $(ARGS)

.PHONY: docs
docs: venv ## build the site of the documentation in build/site, and check its links
	@tools/need git
	@tools/docs $(ARGS)

.PHONY: rules
rules: venv ## write docs/rules.md anew, from what throwaway hosts report of tests/integration/scenarios
	@tools/preflight
	@UPDATE_GOLDEN=1 $(PYTEST) -q tests/integration/test_scenarios.py $(ARGS)
	@.venv/bin/python tools/rules_page.py > docs/rules.md

.PHONY: lint
lint: venv ## run all checks of the code, or those in ARGS=
	@tools/need git shellcheck
	@tools/lint $(ARGS)

.PHONY: test-versions
test-versions: venv ## try each version of ansible-core that is supported, or those in VERSIONS=, by plays and ansible-test
	@tools/need dnsmasq
	@tools/preflight
	@tools/test-versions $(VERSIONS)

.PHONY: release
release: venv ## build and check what would be published, and run the demo from it; publishes nothing
	@tools/need dnsmasq
	@tools/preflight
	@tools/release

.PHONY: format
format: venv ## let ruff lay out the code
	@.venv/bin/ruff format
	@.venv/bin/ruff check --fix

.PHONY: clean
clean: ## remove .venv, build and all caches
	rm -rf .venv build .ansible .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
