"""What this package adds to TVM's code for LLVM targets.

===============  =======================================================================================================
`dense`          tiles of dense layers that read each weight once
`functions`      ``erf`` without branches
===============  =======================================================================================================
"""
