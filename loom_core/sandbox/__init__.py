"""The sandbox: WebAssembly modules, run without any right but to compute."""
