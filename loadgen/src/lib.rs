//! Load generator for vLLM servers: data sets, arrivals, client and result files.
