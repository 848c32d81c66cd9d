# What one can do here. `make help` prints it.

PREFIX  ?= /usr/local
DESTDIR ?=
CARGO   ?= cargo
CC      ?= cc
CFLAGS  ?= -O2

VERSION := $(shell sed -n '/^\[workspace.package\]/,/^$$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
RELEASE := target/release
LIB     := $(RELEASE)/libshmgate.so
CMD     := $(RELEASE)/shmgate
EXAMPLES := $(patsubst c-examples/%.c,target/c-examples/%,$(wildcard c-examples/*.c))
WARN    := -Wall -Wextra -Werror -pedantic

.PHONY: all build examples demo test test-long test-sanitize test-apps test-fuzz bench lint header check-header fmt man install uninstall clean help

all: build examples ## build the library, the command and the C examples

build: ## build target/release/libshmgate.so and target/release/shmgate
	$(CARGO) build --release -p shmgate -p shmgate-cli
	@ln -sf libshmgate.so $(LIB).0

examples: $(EXAMPLES) ## build the C examples into target/c-examples

target/c-examples/%: c-examples/%.c c-examples/text.h include/shmgate.h | build
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(CFLAGS) $(WARN) -Iinclude -o $@ $< $(if $(filter counters,$*),-L$(RELEASE) -lshmgate -Wl$(,)-rpath$(,)$(CURDIR)/$(RELEASE))

, := ,

demo: all ## run the main job: watch a server and its client, limit them, see what is left
	@sh c-examples/demo.sh $(CURDIR)/$(CMD) $(CURDIR)/target/c-examples

test: all check-header ## run all tests (as root or not; what needs root is skipped by name)
	$(CARGO) build --release --features test-panic --target-dir target/test-panic
	$(CARGO) test --profile tests --workspace

test-long: build ## the random tests for hours: 20,000 scripts, 100,000 kills, a kill at every instruction
	SHMGATE_SEEDS=20000 $(CARGO) test --profile tests --test differential
	SHMGATE_KILLS=100000 SHMGATE_STEPS=0 $(CARGO) test --profile tests --test kill_storm
	SHMGATE_FUZZ_ROUNDS=100000 $(CARGO) test --release --manifest-path fuzz/Cargo.toml --no-default-features

# Of the engine: the library itself is loaded by programs that have no sanitizer. std comes as it is, without one. A walk up the stack reads
# between variables, which AddressSanitizer takes for a fault.
TRIPLE   := $(shell uname -m)-unknown-linux-gnu
SANITIZE  = RUSTFLAGS="-Zsanitizer=$(1) -Cunsafe-allow-abi-mismatch=sanitizer" CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_STRIP=none \
	$(CARGO) +nightly test --release --target $(TRIPLE) --target-dir target/sanitize-$(1) -p shmgate-core

test-sanitize: ## AddressSanitizer on the engine's tests, ThreadSanitizer on the userspace backend's (needs nightly Rust)
	$(call SANITIZE,address) --lib --test userspace_threads -- --skip callers::
	TSAN_OPTIONS=suppressions=$(CURDIR)/core/tests/tsan.supp $(call SANITIZE,thread) --test userspace_threads -- --test-threads=1

test-apps: build ## run real programs gated, on both backends, and a report in a browser (as root it installs their Debian packages first)
	sh tests/apps/packages.sh
	$(CARGO) test --profile tests --test apps
	$(CARGO) test --profile tests -p shmgate-cli --test html in_a_browser

test-fuzz: ## replay the fuzzers' seeds with mutations, on stable Rust
	$(CARGO) test --release --manifest-path fuzz/Cargo.toml --no-default-features

bench: all ## measure what the gate costs, as a table
	sh benches/bench.sh

lint: ## rustfmt and clippy, as CI wants them
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

fmt: ## format the Rust code
	$(CARGO) fmt --all

header: ## make include/shmgate.h anew from src/capi.rs
	$(CARGO) run -q --release -p shmgate-header > target/shmgate.h && mv target/shmgate.h include/shmgate.h

check-header: ## fail if include/shmgate.h is not what src/capi.rs makes, or no C11 and C++17
	@mkdir -p target
	@$(CARGO) run -q --release -p shmgate-header > target/shmgate.h
	@diff -u include/shmgate.h target/shmgate.h || { echo 'include/shmgate.h has drifted from src/capi.rs; mend it with: make header' >&2; exit 1; }
	@$(CC) -std=c11 $(WARN) -fsyntax-only -x c include/shmgate.h
	@$(CXX) -std=c++17 $(WARN) -fsyntax-only -x c++ include/shmgate.h

man: build ## make the man pages into target/man
	@mkdir -p target/man
	$(CMD) man target/man

# Builds nothing: root, who installs, often has no cargo, and should not own what is in target.
install: ## install what make built under PREFIX (/usr/local), below DESTDIR if set
	@test -x $(CMD) -a -f $(LIB) || { echo 'make install: nothing is built yet; run make first' >&2; exit 1; }
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 755 $(CMD) $(DESTDIR)$(PREFIX)/bin/shmgate
	install -m 755 $(LIB) $(DESTDIR)$(PREFIX)/lib/libshmgate.so.$(VERSION)
	ln -sf libshmgate.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/libshmgate.so.0
	ln -sf libshmgate.so.0 $(DESTDIR)$(PREFIX)/lib/libshmgate.so
	install -m 644 include/shmgate.h $(DESTDIR)$(PREFIX)/include/shmgate.h
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' shmgate.pc.in > $(DESTDIR)$(PREFIX)/lib/pkgconfig/shmgate.pc
	$(CMD) man $(DESTDIR)$(PREFIX)/share/man/man1
	install -d $(DESTDIR)$(PREFIX)/share/doc/shmgate/docs
	install -m 644 README.md CHANGELOG.md $(DESTDIR)$(PREFIX)/share/doc/shmgate/
	install -m 644 docs/*.md $(DESTDIR)$(PREFIX)/share/doc/shmgate/docs/
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	$(CMD) completions bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/shmgate
	$(CMD) completions zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_shmgate
	$(CMD) completions fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/shmgate.fish

uninstall: ## remove what install put there
	rm -f $(DESTDIR)$(PREFIX)/bin/shmgate $(DESTDIR)$(PREFIX)/lib/libshmgate.so $(DESTDIR)$(PREFIX)/lib/libshmgate.so.0 \
	    $(DESTDIR)$(PREFIX)/lib/libshmgate.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/pkgconfig/shmgate.pc \
	    $(DESTDIR)$(PREFIX)/include/shmgate.h $(DESTDIR)$(PREFIX)/share/man/man1/shmgate.1 $(DESTDIR)$(PREFIX)/share/man/man1/shmgate-*.1 \
	    $(DESTDIR)$(PREFIX)/share/bash-completion/completions/shmgate $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_shmgate \
	    $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/shmgate.fish
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/shmgate

clean: ## remove what was built
	$(CARGO) clean

help: ## print this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14
