.DEFAULT_GOAL := help
.PHONY: help demo test test-windows targets bench isa web clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 20

demo: ## train a small network, measure it and classify pictures with it
	@scripts/setup.sh gpu data
	cargo build --release --locked --bin ocelli --example held_out_pictures
	@scripts/demo.sh

test: ## every check: format, lints, documentation, tests on each driver
	@scripts/setup.sh gpu data browser shaders
	@scripts/test.sh

test-windows: ## the program for Windows, through Direct3D 12 too, by Wine; installs a Debian for it
	@scripts/test_windows.sh

targets: ## type-check for Windows, macOS, Linux on ARM and with musl, Android
	@scripts/check_targets.sh

bench: ## the speed of ResNet-20 in training and inference on this machine
	@scripts/setup.sh gpu
	cargo build --release --locked
	cargo run --release --locked --quiet -- bench --arch resnet20 --mode train --batch-size 32
	cargo run --release --locked --quiet -- bench --arch resnet20 --mode infer --batch-size 32

isa: ## what a GPU's compiler makes of the kernels: make isa ARCH=resnet50 BATCH=32 CHIP=navi21
	@scripts/isa.sh --arch $(or $(ARCH),resnet50) --batch-size $(or $(BATCH),32) --chip $(or $(CHIP),navi21)

web: ## build the page for browsers and its package into web/dist
	@scripts/web.sh

clean: ## remove what building and the demo made
	cargo clean
	rm -rf runs/demo web/dist web/test/node_modules benches/peers/browser/node_modules
