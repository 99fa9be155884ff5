#pragma once

// A soup on a device is a weighted sum; scores are the caller's.
#include <stroma/taskvector/greedy_soup.hpp>
#include <stroma/taskvector/weighted_sum.cuh>
