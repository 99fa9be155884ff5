#pragma once

// No kernel of its own: its parts are enough.
#include <stroma/nn/dropout.cuh>
#include <stroma/nn/feed_forward.hpp>
#include <stroma/nn/linear.cuh>
