//! Simulator of a vLLM server and of its GPU.
