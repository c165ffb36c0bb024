//! The agent's configuration as YAML documents; see [`Node::configure`](crate::Node::configure).

use std::{fmt::Write, net::SocketAddr};

use crate::Pod;

/// An `MCPServer` that listens at `addresses`.
pub fn mcp_server(namespace: &str, name: &str, addresses: &[SocketAddr], path: &str) -> String {
    let mut document = head("MCPServer", namespace, name);
    let _ = write!(document, "spec:\n  path: {path}\n  backend:\n    addresses:\n");
    for address in addresses {
        let _ = writeln!(document, "      - \"{address}\"");
    }
    document
}

/// As [`mcp_server`], for a server of the HTTP+SSE transport, whose stream is at `path`.
pub fn sse_server(namespace: &str, name: &str, addresses: &[SocketAddr], path: &str) -> String {
    let mut document = mcp_server(namespace, name, addresses, path);
    document.push_str("  transport: SSE\n");
    document
}

/// As [`mcp_server`], for a server that is spoken to in HTTP/2 without TLS.
pub fn http2_server(namespace: &str, name: &str, addresses: &[SocketAddr], path: &str) -> String {
    let mut document = mcp_server(namespace, name, addresses, path);
    document.push_str("    appProtocol: kubernetes.io/h2c\n");
    document
}

/// As [`mcp_server`] with one address, for a server whose names the gateway leaves as they are.
pub fn unprefixed_server(namespace: &str, name: &str, address: SocketAddr, path: &str) -> String {
    let mut document = mcp_server(namespace, name, &[address], path);
    document.push_str("  prefix: \"\"\n");
    document
}

/// An `MCPServer` at a host's name, with more lines of its spec in YAML's flow form, for example `capture: Redirect`.
pub fn host_server(namespace: &str, name: &str, host: &str, port: u16, more: &str) -> String {
    let mut document = head("MCPServer", namespace, name);
    let _ = writeln!(
        document,
        "spec: {{backend: {{host: {{name: {host}, port: {port}}}}}, {more}}}"
    );
    document
}

/// A `Workload` for a pod, in `mode` (`enforce` or `off`); its namespace is that of the pod's processes.
pub fn workload(namespace: &str, service_account: &str, pod: &Pod, mode: &str) -> String {
    let mut document = head("Workload", namespace, pod.name());
    let cgroup = pod.cgroup_path();
    let _ = write!(
        document,
        "spec:\n  mode: {mode}\n  serviceAccount: {service_account}\n  cgroup: {}\n  networkNamespace: {{ofCgroup: {{}}}}\n",
        cgroup.display()
    );
    document
}

/// An `MCPPolicy` for every server of the namespace. `rules` are lines in YAML's flow form, for example
/// `{action: Deny, tools: ["delete_*"]}`.
pub fn policy(namespace: &str, name: &str, rules: &[&str]) -> String {
    let mut document = head("MCPPolicy", namespace, name);
    document.push_str("spec:\n  rules:\n");
    for rule in rules {
        let _ = writeln!(document, "    - {rule}");
    }
    document
}

/// `ClusterMCPSettings` with `unknownWorkloads` (`Refuse` or `Pass`).
pub fn settings(unknown_workloads: &str) -> String {
    format!(
        "apiVersion: mcpgw.dev/v1alpha1\nkind: ClusterMCPSettings\nmetadata:\n  name: default\n\
         spec:\n  unknownWorkloads: {unknown_workloads}\n"
    )
}

/// `ClusterMCPSettings` with a gateway that listens at `address`, for enrolled workloads.
pub fn gateway(address: SocketAddr) -> String {
    gateway_for_browsers(address, &[])
}

/// As [`gateway`], also for web pages of these origins.
pub fn gateway_for_browsers(address: SocketAddr, origins: &[&str]) -> String {
    let origins = match origins {
        [] => String::new(),
        origins => format!(", allowedOrigins: {origins:?}"),
    };
    format!(
        "apiVersion: mcpgw.dev/v1alpha1\nkind: ClusterMCPSettings\nmetadata:\n  name: default\n\
         spec:\n  gateway: {{listen: [\"{address}\"], authentication: {{mode: Attested}}{origins}}}\n"
    )
}

fn head(kind: &str, namespace: &str, name: &str) -> String {
    format!("apiVersion: mcpgw.dev/v1alpha1\nkind: {kind}\nmetadata:\n  namespace: {namespace}\n  name: {name}\n")
}
