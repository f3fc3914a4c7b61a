//! HR-Tree, routing policies, proxy and peer synchronisation for vLLM servers.
