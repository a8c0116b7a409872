"""Models as files: reading ONNX, open sizes of inputs, and the import into Relay.

=================  =================================================================================================
`onnx_file`        an ONNX file as its protobuf message, complete or refused (no TVM)
`input_shapes`     sizes of inputs: what the file leaves open, and ``--input-shapes`` (no TVM)
`onnx_import`      TVM's importer, and which operator it stopped at
`control_flow`     what the graph executor can't run
`quiet`            what TVM writes to standard error by itself
=================  =================================================================================================
"""
