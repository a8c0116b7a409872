"""Parts of ``scripts/check_device.py``.

In reading order: `opencl_driver` (find a loader and drivers), `supervise` (one section in a process of its own),
`child` (what runs there), `job` (what sections share), `sections` and `timing_sections` (the sections), `report` (the
result as text).
"""
