// SHA-256 (FIPS 180-4), for names and checksums of the program cache.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace coexec {

using Digest = std::array<uint8_t, 32>;

Digest sha256(const std::string& data);
std::string hex(const Digest& digest);

}  // namespace coexec
