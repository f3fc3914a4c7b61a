//! GPU power, energy and confidential-computing evidence of one server.
