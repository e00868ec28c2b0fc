//! Link flags that Cargo.toml cannot say.

fn main() {
    let target = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    match target.as_str() {
        // The runtime thread outlives the Lua state: a host that closes a state unloads its
        // modules, and the thread would then run in unmapped memory.
        "macos" | "ios" => {
            println!("cargo:rustc-cdylib-link-arg=-undefined");
            println!("cargo:rustc-cdylib-link-arg=dynamic_lookup");
        }
        "windows" => {}
        _ => println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete"),
    }
    println!("cargo:rerun-if-changed=build.rs");
}
