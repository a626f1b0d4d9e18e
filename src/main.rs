use std::sync::Arc;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let gpu = Arc::new(ocelli::gpu::Gpu::open(&Default::default()).map_err(|e| e.to_string()).unwrap());
    let arch = ocelli::models::Arch::find(&a[1]).unwrap();
    let mut s = arch.settings(a[3].parse().unwrap());
    if let Some(z) = a.get(4) { s.size = [z.parse().unwrap(); 2]; }
    let mode = if a[2] == "train" { ocelli::train::BenchMode::Train } else { ocelli::train::BenchMode::Infer };
    let m = ocelli::train::measure(&gpu, arch, &s, mode, std::time::Duration::from_secs(3)).map_err(|e| e.to_string()).unwrap();
    println!("{m:#?}");
}
