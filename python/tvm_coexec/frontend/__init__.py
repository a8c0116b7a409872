"""Reading model files: ONNX, open sizes of inputs, and the import into Relay.

=================  =================================================================================================
`onnx_file`        an ONNX file as a complete protobuf message (no TVM)
`input_shapes`     sizes of inputs: those that the file leaves open, and ``--input-shapes`` (no TVM)
`onnx_import`      TVM's importer, and the operator at which it failed
`control_flow`     branches and loops, which the graph executor can't run
`quiet`            silencing what TVM itself writes to standard error
=================  =================================================================================================
"""
