// Scalar kernel arguments: TVM passes them as int64 or double, and kernels expect the width of their parameter.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace coexec {

enum class DTypeCode : uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kHandle = 3, kBFloat = 4 };

struct DType {
  DTypeCode code;
  uint8_t bits;
  uint16_t lanes;
};

// "int8", "uint64", "float16", "bfloat16", "bool", "handle"; Error otherwise.
DType parse_dtype(const std::string& text);

struct Scalar {
  alignas(8) unsigned char bytes[8];
  size_t size;  // 0: kernels can't take the type
};

// `is_float` states which of the two values was passed; both are accepted for every type.
Scalar pack_scalar(DType type, bool is_float, int64_t i, double f);

// IEEE half and bfloat16, rounded to nearest even; overflow becomes infinity, NaN stays NaN.
uint16_t to_half(double value);
uint16_t to_bfloat16(double value);

}  // namespace coexec
