"""OpenCL for a TVM built without it: the runtime (C++ in ``runtime/``) and schedules for GPU shares."""
