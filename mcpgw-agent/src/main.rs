//! The `mcpgw` binary; see [`mcpgw_agent::cli`].

fn main() -> std::process::ExitCode {
    mcpgw_agent::cli::main()
}
