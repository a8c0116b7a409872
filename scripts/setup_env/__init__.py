"""Sets up ``.venv``: Python packages, a TVM with Relay, the C++ runtime, an OpenCL device. Run by ``make setup``."""
