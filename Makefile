.DEFAULT_GOAL := help
.PHONY: help run test verify fix bench

help: ## show this text
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

run: ## install what is missing, build, start the standalone broker (DATA=dir, default ./data)
	@scripts/run.sh

test: ## everything that proves it, from nothing: format, lints, tests, crashes, real clients
	@scripts/test.sh

verify: ## lints, docs, licences, fuzzing: reads the tree, never writes it
	@scripts/verify.sh

fix: ## format, and apply what clippy can mend by itself
	@scripts/setup.sh
	@cargo fmt --all
	@ROCKSDB_STATIC=1 ROCKSDB_LIB_DIR=$$(scripts/rocksdb.sh) cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

bench: ## measure against mosquitto, nats-server and rumqttd in one run, write docs/benchmarks.md
	@scripts/bench.sh
