# What the engine is told, beside the usual of Envoy's CheckRequest, is in `filterMetadata.mcpgw`:
#
#   path      "redirected" or "gateway"
#   mcp       method, server ("namespace/name"), tool, prompt, resource or task (the server's own name), arguments
#   identity  principal, namespace, serviceAccount, workload ("namespace/name"), issuer, subject, groups
#
# and the same, but for groups and arguments, as texts in `contextExtensions`: "mcp.tool", "identity.principal", …
# `request.http` has method, path and headers, without any that could be a credential.
package mcpgw

default allow := false

told := input.attributes.metadataContext.filterMetadata.mcpgw

# What is no tool call is for the rules alone.
allow if told.mcp.method != "tools/call"

# Small sums, whoever asks.
allow if {
	told.mcp.tool == "add"
	told.mcp.arguments.a < 1000
	told.mcp.arguments.b < 1000
}

# The platform team may do anything that is not destructive.
allow if {
	told.identity.namespace == "platform"
	not startswith(told.mcp.tool, "delete_")
}
