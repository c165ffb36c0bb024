//! The `mcpgw` binary; see [`mcpgw_agent::cli`].

/// A call makes some eighty allocations, and with the C library's allocator they take a fifth of its CPU time.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const ALLOCATOR_OPTIONS: &[u8] = b"background_thread:true,dirty_decay_ms:250,muzzy_decay_ms:0\0";

/// Gives memory back to the kernel soon after its last use: what starting takes, and what a burst takes.
// SAFETY: jemalloc reads this symbol as a pointer to a string that ends with a zero byte, which this is.
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_CONFIGURATION: &u8 = &ALLOCATOR_OPTIONS[0];

fn main() -> std::process::ExitCode {
    mcpgw_agent::cli::main()
}
