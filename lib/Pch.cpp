// Holds the precompiled header; no code.
