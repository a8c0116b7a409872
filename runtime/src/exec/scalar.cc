#include "scalar.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "../cl/cl_error.h"

namespace coexec {
namespace {

// Rounds to a binary float with `fraction` explicit bits and exponents [min_exp, max_exp] (unbiased, of 1.x). Rounding
// to float first would round twice.
uint16_t to_narrow(double value, int fraction, int min_exp, int max_exp) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const uint16_t infinity = static_cast<uint16_t>((max_exp - min_exp + 2) << fraction);
  if (std::isnan(value)) {
    return sign | infinity | static_cast<uint16_t>(1 << (fraction - 1));
  }
  const double magnitude = std::fabs(value);
  if (std::isinf(magnitude)) {
    return sign | infinity;
  }
  if (magnitude == 0) {
    return sign;
  }
  int exponent = 0;
  std::frexp(magnitude, &exponent);  // magnitude = m * 2^exponent, m in [0.5, 1)
  const int e = std::fmax(exponent - 1, min_exp);
  // In units of the last place; nearbyint rounds ties to even in the default rounding mode.
  const uint32_t units = static_cast<uint32_t>(std::nearbyint(std::ldexp(magnitude, fraction - e)));
  // Subnormals have units < 2^fraction; a carry out of the fraction increments the exponent.
  const uint32_t bits = (static_cast<uint32_t>(e - min_exp) << fraction) + units;
  return sign | (e > max_exp || bits >= infinity ? infinity : static_cast<uint16_t>(bits));
}

template <class T>
Scalar pack(T value) {
  Scalar s{};
  std::memcpy(s.bytes, &value, sizeof value);
  s.size = sizeof value;
  return s;
}

}  // namespace

DType parse_dtype(const std::string& text) {
  if (text == "handle") {
    return {DTypeCode::kHandle, 64, 1};
  }
  if (text == "bool") {
    return {DTypeCode::kUInt, 1, 1};
  }
  const std::pair<const char*, DTypeCode> kinds[] = {{"int", DTypeCode::kInt},
                                                     {"uint", DTypeCode::kUInt},
                                                     {"float", DTypeCode::kFloat},
                                                     {"bfloat", DTypeCode::kBFloat}};
  for (const auto& kind : kinds) {
    for (int bits : {8, 16, 32, 64}) {
      if (text == kind.first + std::to_string(bits)) {
        return {kind.second, static_cast<uint8_t>(bits), 1};
      }
    }
  }
  throw Error("'" + text + "' is not a type of kernel arguments: use handle, bool, or a type such as int32 or float16");
}

uint16_t to_half(double value) {
  return to_narrow(value, 10, -14, 15);
}

uint16_t to_bfloat16(double value) {
  return to_narrow(value, 7, -126, 127);
}

Scalar pack_scalar(DType type, bool is_float, int64_t i, double f) {
  if (type.lanes != 1) {
    return {};
  }
  const int64_t integer = is_float ? static_cast<int64_t>(f) : i;
  const double real = is_float ? f : static_cast<double>(i);
  switch (type.code) {
    case DTypeCode::kFloat:
      return type.bits == 16   ? pack(to_half(real))
             : type.bits == 32 ? pack(static_cast<float>(real))
             : type.bits == 64 ? pack(real)
                               : Scalar{};
    case DTypeCode::kBFloat:
      return type.bits == 16 ? pack(to_bfloat16(real)) : Scalar{};
    case DTypeCode::kInt:
    case DTypeCode::kUInt:
      // Two's complement: the low bytes are the same for both. A bool (one bit) is passed as a byte.
      return type.bits == 1    ? pack(static_cast<uint8_t>(integer != 0))
             : type.bits == 8  ? pack(static_cast<uint8_t>(integer))
             : type.bits == 16 ? pack(static_cast<uint16_t>(integer))
             : type.bits == 32 ? pack(static_cast<uint32_t>(integer))
             : type.bits == 64 ? pack(static_cast<uint64_t>(integer))
                               : Scalar{};
    default:
      return {};
  }
}

}  // namespace coexec
