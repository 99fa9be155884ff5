#pragma once

// The model on a device: the verbs' kernels are enough.
#include <stroma/models/abmil.cuh>
#include <stroma/models/steph.hpp>
#include <stroma/nn/dropout.cuh>
#include <stroma/pooling/mean_embedding.cuh>
#include <stroma/taskvector/mixing_penalty.cuh>
#include <stroma/taskvector/mixing_weight.cuh>
#include <stroma/taskvector/sparse_mixup.cuh>
