#pragma once

// Arithmetic of task vectors needs no kernel but that of sums.
#include <stroma/taskvector/arithmetic.hpp>
#include <stroma/taskvector/weighted_sum.cuh>
