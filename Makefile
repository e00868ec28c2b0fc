# MQ: message queues for Lua. `make help` lists what there is to do.
#
# One Lua version at a time: LUA names it (lua5.1 lua5.2 lua5.3 lua5.4 luajit, or a path to an
# interpreter). Each has its own cargo target directory and its own build/LUA/MQ/core.so, because
# the library's file name does not say which Lua it was built for.

LUA      ?= lua5.4
FEATURES ?= mqtt stomp tls websocket broker httpd
PROFILE  ?= release
PREFIX   ?= /usr/local
DESTDIR  ?=
CC       ?= cc
CFLAGS   ?= -O2 -Wall -Wextra
CARGO    ?= $(shell command -v cargo || echo "$$HOME/.cargo/bin/cargo")
LUAS     := lua5.1 lua5.2 lua5.3 lua5.4 luajit

# The canonical name (lua5.4): what is given, or what the interpreter says it is.
ask_lua   = $(shell "$(1)" -e 'print(jit and "luajit" or "lua" .. _VERSION:sub(5))')
LUA_NAME := $(or $(filter $(LUAS) lua5.5,$(notdir $(LUA))),$(call ask_lua,$(LUA)))
ifeq ($(LUA_NAME),)
  $(error LUA=$(LUA) is none of: $(LUAS))
endif
FEATURE  := $(subst .,,$(LUA_NAME))
ABI      := $(if $(filter luajit,$(LUA_NAME)),5.1,$(LUA_NAME:lua%=%))

TARGET   := target/$(LUA_NAME)
BUILD    := build/$(LUA_NAME)
CORE     := $(BUILD)/MQ/core.so
PROFILE_DIR := $(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
PEERS    := $(patsubst bench/peers/%.c,build/bench/%,$(wildcard bench/peers/*.c)) build/bench/fanout
SOURCES  := $(wildcard Cargo.toml Cargo.lock build.rs) $(shell find src -name '*.rs')

LUADIR   ?= $(PREFIX)/share/lua/$(ABI)
LIBDIR   ?= $(PREFIX)/lib/lua/$(ABI)
BINDIR   ?= $(PREFIX)/bin

comma := ,
space := $(subst ,, )

.DEFAULT_GOAL := build
.DELETE_ON_ERROR:
.PHONY: help build build-all check-lua55 env demo test lint bench fuzz spec-tools \
        install uninstall install-cf uninstall-cf size clean FORCE

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@echo "Variables: LUA=$(LUA) FEATURES=$(FEATURES) PREFIX=$(PREFIX) DESTDIR= ONLY= (bench)"

build: $(CORE) ## the module for LUA: build/LUA/MQ/core.so

# Copied, then renamed: a running interpreter keeps the file that it has mapped.
$(CORE): $(SOURCES) $(BUILD)/.features
	$(CARGO) build --profile $(PROFILE) --lib --target-dir $(TARGET) --no-default-features \
	    --features $(subst $(space),$(comma),$(strip $(FEATURE) $(FEATURES)))
	@mkdir -p $(@D)
	@cp $(TARGET)/$(PROFILE_DIR)/$(shell uname | sed 's/Darwin/libmq.dylib/;t;s/.*/libmq.so/') $@.new
	@mv -f $@.new $@

# Changes only when the choice does, so that `make build FEATURES=` builds anew.
$(BUILD)/.features: FORCE
	@mkdir -p $(@D)
	@echo "$(FEATURES) $(PROFILE)" | cmp -s - $@ || echo "$(FEATURES) $(PROFILE)" > $@

build-all: ## the module for all five interpreters
	@for lua in $(LUAS); do $(MAKE) --no-print-directory build LUA=$$lua || exit 1; done

check-lua55: ## does it compile for Lua 5.5, which no distribution packages yet?
	$(CARGO) check --lib --target-dir target/check --no-default-features --features lua55,mqtt,stomp,tls,websocket,broker,httpd

env: ## shell lines for a plain interpreter: eval "$(make -s env LUA=lua5.3)"
	@echo "export LUA_PATH='$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;;'"
	@echo "export LUA_CPATH='$(abspath $(BUILD))/?.so;;'"

demo: ## install what is missing, build, and see 100 messages pass over MQ's own broker
	@LUA=$(LUA_NAME) tools/demo.sh

test: ## everything, on every interpreter
	@tools/test.sh

lint: ## formatting, clippy, luacheck, file lengths
	@CARGO='$(CARGO)' tools/lint.sh

bench: build spec-tools $(PEERS) ## against C and Rust peers; ONLY=redis|mqtt|stomp|httpd|broker|S|P|H|MI0|TI…, RUNS=5, WRITE=1
	@LUA_PATH='$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;$(CURDIR)/?.lua;;' \
	 LUA_CPATH='$(abspath $(BUILD))/?.so;$(abspath $(BUILD))/spec/?.so;;' \
	 ONLY='$(ONLY)' RUNS='$(RUNS)' WRITE='$(WRITE)' SIDE='$(SIDE)' $(LUA) bench/run.lua

# The library that a peer is written on, if any.
peer_library = $(if $(filter mqtt_%,$(1)),libmosquitto,$(if $(filter-out stomp_%,$(1)),hiredis))
peer_flags   = $(if $(call peer_library,$(2)),$(shell pkg-config $(1) $(call peer_library,$(2))))

build/bench/%: bench/peers/%.c $(wildcard bench/peers/*.h)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -std=gnu11 $(call peer_flags,--cflags,$*) -o $@ $< \
	    $(call peer_flags,--libs,$*)

build/bench/fanout: bench/peers/fanout/src/main.rs bench/peers/fanout/Cargo.toml bench/peers/fanout/Cargo.lock
	$(CARGO) build --release --locked --target-dir target/fanout --manifest-path bench/peers/fanout/Cargo.toml
	@mkdir -p $(@D)
	@cp target/fanout/release/fanout $@

fuzz: ## each fuzz target for SECONDS_EACH=60, or ONLY=name alone
	@CARGO='$(CARGO)' ONLY='$(ONLY)' SECONDS_EACH='$(or $(SECONDS_EACH),60)' tools/fuzz.sh

# What the specs need that plain Lua cannot do: processes and sockets; a C host.
spec-tools: $(BUILD)/spec/spec_sys.so $(BUILD)/spec/host

LUA_CFLAGS = $(shell pkg-config --cflags $(LUA_NAME))
LUA_LIBS   = $(shell pkg-config --libs $(LUA_NAME))

$(BUILD)/spec/spec_sys.so: spec/support/spec_sys.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -std=gnu11 -shared -fPIC $(LUA_CFLAGS) -o $@.new $<
	@mv -f $@.new $@

$(BUILD)/spec/host: spec/support/host.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -std=gnu11 -pthread $(LUA_CFLAGS) -o $@.new $< $(LUA_LIBS)
	@mv -f $@.new $@

install: build ## into PREFIX (DESTDIR is honoured)
	@cd lua && find MQ -name '*.lua' -exec install -D -m 644 '{}' '$(DESTDIR)$(LUADIR)/{}' ';'
	@install -D -m 755 $(CORE) '$(DESTDIR)$(LIBDIR)/MQ/core.so'
	@install -D -m 755 bin/mq '$(DESTDIR)$(BINDIR)/mq'
	@sed -i '2a : "$${LUA:=$(LUA_NAME)}"  # what it was installed for' '$(DESTDIR)$(BINDIR)/mq'
	@echo "installed for $(LUA_NAME): $(DESTDIR)$(LUADIR)/MQ $(DESTDIR)$(LIBDIR)/MQ/core.so $(DESTDIR)$(BINDIR)/mq"

uninstall: ## what install put there
	@rm -rf '$(DESTDIR)$(LUADIR)/MQ' '$(DESTDIR)$(LIBDIR)/MQ' '$(DESTDIR)$(BINDIR)/mq'

install-cf: ## into a checkout of cf: CF=DIR, LUA: the one that it embeds
	@lua=$$(tools/cf.sh lua '$(CF)' '$(if $(filter-out file default,$(origin LUA)),$(LUA_NAME))') && \
	    $(MAKE) --no-print-directory build LUA=$$lua && tools/cf.sh install '$(CF)' build/$$lua/MQ/core.so

uninstall-cf: ## what install-cf put there; cf's own modules come back
	@tools/cf.sh uninstall '$(CF)'

size: ## of the stripped library, by what is in it
	@for f in "" mqtt stomp tls "mqtt tls" "$(FEATURES)"; do \
	    dir=build/size-$$(echo "$${f:-redis}" | tr ' ' -); \
	    $(MAKE) -s build BUILD=$$dir TARGET=target/size FEATURES="$$f" && \
	    printf '%-24s %8d bytes\n' "redis $$f" $$(wc -c < $$dir/MQ/core.so); \
	done

clean: ## remove what was built
	rm -rf target build
