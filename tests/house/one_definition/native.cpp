#include <stroma/stroma.hpp>

#include "sum.hpp"

double native_sum() { return sum(); }
