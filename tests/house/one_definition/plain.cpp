#include <stroma/stroma.hpp>

#include "sum.hpp"

double plain_sum() { return sum(); }
