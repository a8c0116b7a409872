#include "exec/scalar.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "check.h"

using namespace coexec;

namespace {

template <class T>
T packed(DTypeCode code, int bits, bool is_float, int64_t i, double f) {
  const Scalar s = pack_scalar({code, static_cast<uint8_t>(bits), 1}, is_float, i, f);
  CHECK_EQ(s.size, sizeof(T));
  T value;
  std::memcpy(&value, s.bytes, sizeof value);
  return value;
}

double from_half(uint16_t h) {
  const int exponent = h >> 10 & 31, fraction = h & 1023;
  const double sign = h & 0x8000 ? -1 : 1;
  if (exponent == 31) {
    return fraction ? std::nan("") : sign * INFINITY;
  }
  return sign * (exponent ? std::ldexp(1024 + fraction, exponent - 25) : std::ldexp(fraction, -24));
}

}  // namespace

TEST(scalar, integers_of_all_widths) {
  CHECK_EQ(int{packed<int8_t>(DTypeCode::kInt, 8, false, -128, 0)}, -128);
  CHECK_EQ(int{packed<uint8_t>(DTypeCode::kUInt, 8, false, 255, 0)}, 255);
  CHECK_EQ(packed<int16_t>(DTypeCode::kInt, 16, false, -32768, 0), -32768);
  CHECK_EQ(packed<uint16_t>(DTypeCode::kUInt, 16, false, 65535, 0), 65535);
  CHECK_EQ(packed<int32_t>(DTypeCode::kInt, 32, false, std::numeric_limits<int32_t>::min(), 0),
           std::numeric_limits<int32_t>::min());
  CHECK_EQ(packed<uint32_t>(DTypeCode::kUInt, 32, false, 4294967295, 0), 4294967295u);
  CHECK_EQ(packed<int64_t>(DTypeCode::kInt, 64, false, std::numeric_limits<int64_t>::min(), 0),
           std::numeric_limits<int64_t>::min());
  // TVM passes the bits of a uint64 in an int64.
  CHECK_EQ(packed<uint64_t>(DTypeCode::kUInt, 64, false, -1, 0), ~uint64_t{0});
}

TEST(scalar, bool_is_a_byte) {
  CHECK_EQ(int{packed<uint8_t>(DTypeCode::kUInt, 1, false, 1, 0)}, 1);
  CHECK_EQ(int{packed<uint8_t>(DTypeCode::kUInt, 1, false, 256, 0)}, 1);
  CHECK_EQ(int{packed<uint8_t>(DTypeCode::kUInt, 1, false, 0, 0)}, 0);
}

TEST(scalar, floats) {
  CHECK_EQ(packed<float>(DTypeCode::kFloat, 32, true, 0, 0.1), 0.1f);
  CHECK_EQ(packed<double>(DTypeCode::kFloat, 64, true, 0, 0.1), 0.1);
  CHECK_EQ(packed<float>(DTypeCode::kFloat, 32, false, 3, 0), 3.0f);  // an int where a float is due
  CHECK_EQ(packed<int32_t>(DTypeCode::kInt, 32, true, 0, 3.0), 3);
}

TEST(scalar, half_is_exact_for_every_half) {
  for (int bits = 0; bits < 0x7c00; ++bits) {
    for (int sign : {0, 0x8000}) {
      CHECK_EQ(to_half(from_half(static_cast<uint16_t>(bits | sign))), bits | sign);
    }
  }
}

TEST(scalar, half_rounds_to_nearest_even) {
  for (int bits = 0; bits < 0x7bff; ++bits) {
    const double low = from_half(static_cast<uint16_t>(bits)), high = from_half(static_cast<uint16_t>(bits + 1));
    const double middle = (low + high) / 2;  // exact in double
    CHECK_EQ(int{to_half(middle)}, bits % 2 ? bits + 1 : bits);
    CHECK_EQ(int{to_half(std::nextafter(middle, 0))}, bits);
    CHECK_EQ(int{to_half(std::nextafter(middle, INFINITY))}, bits + 1);
  }
  // 65504 is the largest; half of the next step rounds to infinity.
  CHECK_EQ(int{to_half(65519.999)}, 0x7bff);
  CHECK_EQ(int{to_half(65520)}, 0x7c00);
  CHECK_EQ(int{to_half(1e300)}, 0x7c00);
  CHECK_EQ(int{to_half(-INFINITY)}, 0xfc00);
  CHECK_EQ(to_half(std::nan("")) & 0x7c00, 0x7c00);
  CHECK(to_half(std::nan("")) & 0x3ff);
}

TEST(scalar, bfloat16_against_float_bits) {
  for (float value : {1.0f, -2.5f, 3.140625f, 1e-40f, 1.17549435e-38f, 3.38953139e38f}) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    CHECK_EQ(uint32_t{to_bfloat16(value)}, rounded);
  }
  CHECK_EQ(int{to_bfloat16(INFINITY)}, 0x7f80);
}

TEST(scalar, refuses_what_no_kernel_takes) {
  CHECK_EQ(pack_scalar({DTypeCode::kInt, 4, 1}, false, 0, 0).size, 0u);
  CHECK_EQ(pack_scalar({DTypeCode::kInt, 32, 4}, false, 0, 0).size, 0u);
  CHECK_EQ(pack_scalar({DTypeCode::kFloat, 8, 1}, true, 0, 0).size, 0u);
  CHECK_EQ(pack_scalar({DTypeCode::kHandle, 64, 1}, false, 0, 0).size, 0u);
}
