//! The memory of an adapter. WebGPU does not tell it, Vulkan does.

/// The size of the largest heap of an adapter that lies in its own memory, in bytes.
#[cfg(any(target_os = "linux", target_os = "windows", target_os = "android"))]
pub(super) fn largest(adapter: &wgpu::Adapter) -> Option<u64> {
    /// VK_MEMORY_HEAP_DEVICE_LOCAL_BIT
    const LOCAL: u32 = 1;
    // SAFETY: the adapter of Vulkan is only asked for its properties, and is not kept or destroyed. Its instance lives as long as it.
    #[allow(unsafe_code)]
    let properties = unsafe {
        let vulkan = adapter.as_hal::<wgpu::hal::api::Vulkan>()?;
        let instance = vulkan.shared_instance().raw_instance();
        instance.get_physical_device_memory_properties(vulkan.raw_physical_device())
    };
    let heaps = properties.memory_heaps.iter().take(properties.memory_heap_count as usize);
    heaps.filter(|heap| heap.flags.as_raw() & LOCAL != 0).map(|heap| heap.size).max()
}

/// Other interfaces do not tell.
#[cfg(not(any(target_os = "linux", target_os = "windows", target_os = "android")))]
pub(super) fn largest(_: &wgpu::Adapter) -> Option<u64> {
    None
}
