"""The bus: topics, messages, shared-memory rings, sockets, node loop, recording and replay."""
