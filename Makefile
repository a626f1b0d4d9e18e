test:
	if ! ls /usr/share/vulkan/icd.d/*.json >/dev/null 2>&1; then apt-get update -qq && apt-get install -y -qq libvulkan1 mesa-vulkan-drivers; fi
	cargo test --locked
.PHONY: test
