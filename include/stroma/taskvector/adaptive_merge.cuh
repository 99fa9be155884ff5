#pragma once

// The merge is a weighted sum, its derivative inner products; the coefficients are on the host.
#include <stroma/taskvector/adaptive_merge.hpp>
#include <stroma/taskvector/similarity.cuh>
#include <stroma/taskvector/weighted_sum.cuh>
