#pragma once
#include <stroma/stroma.hpp>

// One inline function, compiled twice with different flags: the linker keeps either.
inline double sum() { return stroma::version.major_number + stroma::version.minor_number; }
