#pragma once

// CMake reads the three numbers from here.
#define STROMA_VERSION_MAJOR 0
#define STROMA_VERSION_MINOR 1
#define STROMA_VERSION_PATCH 0

namespace stroma {

/// The version of the library, [semantic](https://semver.org): while `major` is 0, a new `minor` may break a caller.
struct version_number {
  int major_number, minor_number, patch_number;
};

inline constexpr version_number version{STROMA_VERSION_MAJOR, STROMA_VERSION_MINOR, STROMA_VERSION_PATCH};

}  // namespace stroma
