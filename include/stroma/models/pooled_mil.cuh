#pragma once

// The model on a device: the verbs' kernels are enough.
#include <stroma/models/pooled_mil.hpp>
#include <stroma/nn/linear.cuh>
#include <stroma/pooling/max_pool.cuh>
#include <stroma/pooling/mean_pool.cuh>
