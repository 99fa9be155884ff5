#pragma once

// The term of a row is the host's: the kernel of the mean is enough.
#include <stroma/autodiff/row_mean.cuh>
#include <stroma/survival/hazard_entropy.hpp>
