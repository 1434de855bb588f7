# A thin front over Meson and ninja. `make` alone lists the targets.

BUILD ?= build
MESON_FLAGS ?=
UNIT = --suite unit --suite fuzz

.PHONY: help setup setup-test setup-object setup-lint setup-bench setup-rocksdb build build-server build-rocksdb demo test test-object run run-client \
	bench bench-side bench-series lint asan tsan fuzz soak doc install clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## install the Debian packages that building needs
	@tools/setup.sh build

setup-test:
	@tools/setup.sh build test

setup-object:
	@tools/setup.sh object || echo 'object stores of others: what is missing is skipped'
	@tools/setup_firebase.sh

setup-lint:
	@tools/setup.sh build lint

setup-bench:
	@tools/setup.sh build bench

setup-rocksdb:
	@tools/setup.sh build rocksdb

# $(call configure,DIR,FLAGS): set a build directory up once; meson reconfigures itself later.
configure = @test -f $(1)/build.ninja || meson setup $(1) $(2) $(MESON_FLAGS) >/dev/null || \
	{ cat $(1)/meson-logs/meson-log.txt; exit 1; }

build: setup ## release build: build/varved, build/varve, build/libvarve.so
	$(call configure,$(BUILD),--buildtype=release)
	@ninja -C $(BUILD) --quiet programs
	@ln -sf cmd/varved/varved cmd/varve/varve src/db/libvarve.so src/db/libvarve.so.0 $(BUILD)/

build-server: build ## the same, under its other name

build-rocksdb: setup-rocksdb ## the same with the engine rocksdb, in build-rocksdb/
	$(call configure,$(BUILD)-rocksdb,--buildtype=release -Drocksdb=enabled)
	@ninja -C $(BUILD)-rocksdb --quiet programs
	@ln -sf cmd/varved/varved cmd/varve/varve $(BUILD)-rocksdb/

demo: build ## the main job: stream sensor data in, query it, kill the server, lose nothing
	@tools/demo.sh $(BUILD)

test: setup-test ## all tests, with the unit tests again under ASan and UBSan
	@tools/test.sh

test-object: setup-test setup-object ## object stores: scripted servers; Ceph, Swift, s3cmd, rclone, Firebase where they install
	@VARVE_OBJECT_PEERS=1 tools/test.sh object

run: build ## the server in the foreground on ./varve-data
	@exec $(BUILD)/varved --data varve-data

run-client: build ## the example gRPC client against a running server
	@$(BUILD)/examples/ingest_client 127.0.0.1:8080 127.0.0.1:8081

bench: build ## the short form of the benchmarks, JSON lines; about two minutes, on the disk of the checkout
	@tools/setup.sh build figures
	@ninja -C $(BUILD) --quiet benches
	@tools/bench.sh $(BUILD)

bench-side: setup-bench ## varve beside RocksDB, LMDB, LevelDB, WiredTiger (FORM=short, middle or full)
	$(call configure,$(BUILD)-bench,--buildtype=release -Dbench_peers=true)
	@ninja -C $(BUILD)-bench --quiet benches
	@bench/side/run.py --build $(BUILD)-bench --form $(or $(FORM),short)

bench-series: build ## series tables beside VictoriaMetrics, InfluxDB, Prometheus (FORM=--short for a look)
	@tools/setup.sh build peers
	@ninja -C $(BUILD) --quiet benches
	@VARVE_BUILD=$(BUILD) bench/series/run.py $(FORM)

lint: setup-lint ## format, clang-tidy, cppcheck, layers, exported names
	@tools/lint.sh

asan: setup-test ## unit and fuzz tests under the address and undefined-behaviour sanitizers
	@tools/test.sh asan

tsan: setup-test ## threaded tests under the thread sanitizer
	@tools/test.sh tsan

fuzz: setup-test ## libFuzzer on every decoder, 60 s each (FUZZ_SECONDS)
	@tools/fuzz.sh

soak: setup-test ## the long forms of the memory, crash, model and kill tests (SOAK=memory: that alone)
	@tools/soak.sh

doc: ## check that every link of the documentation leads somewhere
	@tools/check_docs.py

install: build ## install under PREFIX (/usr/local), below DESTDIR when it is given
	$(if $(PREFIX),@meson configure $(BUILD) -Dprefix=$(abspath $(PREFIX)) && \
		ninja -C $(BUILD) --quiet programs)
	@meson install -C $(BUILD) --no-rebuild $(if $(DESTDIR),--destdir $(abspath $(DESTDIR)))

clean: ## remove the build directories
	@rm -rf build build-test build-asan build-tsan build-fuzz build-lint $(BUILD)-bench $(BUILD)-rocksdb
