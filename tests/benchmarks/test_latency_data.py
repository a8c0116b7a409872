"""Readers of others' measurements, and the measures that are made of them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import _latency_data, _latency_goals

RK3399 = """dtype,N,IC,IH,IW,OC,KH,KW,stride,pad,depthwise,cpu_ms,mali_ms
float32,1,64,56,56,128,3,3,2,1,0,5.0,2.5
float32,1,192,17,17,192,7,1,1,3,0,8.0,11.0
float32,1,192,17,17,192,1,7,1,0,0,8.0,11.0
float32,1,32,112,112,32,3,3,1,1,1,1.5,2.0
"""

PHONES = """model,operation,feature,tall|gpu|float,tall|gpu|kernel,wide|gpu|float,wide|gpu|kernel
a,CONV_2D,"{'Input_shape': '58', 'Input_channel': 128, 'Output_shape': '56', 'Stride': '1', 'Kernel': '3', \
'Filter': '32', 'Group': '1', 'FLOPS': '1'}",90.0,convolution_2d_26,30.0,convolution_winograd_4x4_6x6_1
a,DEPTHWISE_CONV_2D,"{'Input_shape': '56', 'Input_channel': 24, 'Output_shape': '28', 'Stride': '2', 'Kernel': '3', \
'Filter': '24', 'Group': '1', 'FLOPS': '1'}",10.0,depthwise_convolution_3_linked_:_relu_4,,
b,MEAN,"{}",1.0,mean_1,2.0,mean_1
b,vulkan_prepack::run_conv2d_context,"{'input_channel': 8, 'input_shape': 7, 'output_channel': 12, \
'output_shape': 7, 'kernel_size': 1, 'stride': 1, 'groups': 1}",5.0,vulkan.conv2d_pw_2x2,4.0,vulkan.conv2d_pw_2x2
"""


def written(tmp_path, text):
    path = tmp_path / "data_ops.csv"
    path.write_text(text)
    return path


def test_rk3399(tmp_path):
    found = _latency_data.read_rk3399(written(tmp_path, RK3399))
    cpu = found["cpu"]
    assert cpu.seconds.tolist() == [5e-3, 8e-3, 8e-3, 1.5e-3] and found["mali"].seconds[0] == 2.5e-3
    assert [(w.oh, w.ow) for w in cpu.workloads] == [(28, 28), (17, 17), (17, 17), (112, 112)]
    assert cpu.workloads[0].macs == 128 * 64 * 9 * 28 * 28 and cpu.workloads[3].macs == 32 * 9 * 112 * 112
    assert cpu.workloads[3].kind == "depthwise_conv" and len(set(cpu.groups)) == 4


def test_phones(tmp_path):
    found = _latency_data.read_phones(written(tmp_path, PHONES))
    tall, wide = found["tall"], found["wide"]
    np.testing.assert_allclose(tall.seconds, [90e-6, 10e-6, 5e-6])
    np.testing.assert_allclose(wide.seconds, [30e-6, 4e-6])
    keys = [w.key for w in tall.workloads]
    assert keys == ["conv/convolution_2d.3x3", "depthwise_conv/depthwise_convolution", "conv/conv2d_pw_2x2.1x1"]
    assert wide.workloads[0].key == "conv/convolution_winograd_4x4_6x6.3x3"
    assert tall.groups.tolist() == [0, 0, 1]


def test_an_empty_file_is_named(tmp_path):
    with pytest.raises(SystemExit, match=r"data_ops\.csv has no rows"):
        _latency_data.read_rk3399(written(tmp_path, RK3399.split("\n")[0] + "\n"))


def test_splits_by_perfect_and_by_wrong_predictions():
    cpu, gpu = np.array([4.0, 1.0, 100.0]), np.array([4.0, 3.0, 1.0])
    perfect = _latency_goals.split_quality(cpu, gpu, cpu, gpu)
    assert perfect["slower_%"] == 0 and perfect["speedup"] == pytest.approx(6 / (2 + 0.75 + 1.0))
    swapped = _latency_goals.split_quality(gpu, cpu, cpu, gpu)
    assert swapped["slower_%"] == pytest.approx(200 / 3) and swapped["speedup"] < 1
