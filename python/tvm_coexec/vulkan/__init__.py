"""A Vulkan device and its code generator, for a TVM that was built without them."""
