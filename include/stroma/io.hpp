#pragma once

/// Every file that stroma reads or writes, but npy (<stroma/io/npy.hpp>, with the target stroma::xtensor).

#include <stroma/io/bags.hpp>
#include <stroma/io/clinical.hpp>
#include <stroma/io/mapped_bags.hpp>
#include <stroma/io/safetensors.hpp>
#include <stroma/io/table.hpp>
#include <stroma/io/torch_checkpoint.hpp>
#include <stroma/train/checkpoint.hpp>
