#pragma once
#include <stroma/models/steph.hpp>

#include "transfer.hpp"

/// What is kept of STEPH's training: its own parameters and the names and fingerprints of the models they belong to.
/// The task vectors are not in the file; without those very models it is worth nothing, so they are asked for.
namespace program {

void save_steph(const transfer_fold& fold, const stroma::steph<float>& model);
/// Fills the model if an earlier run left it.
/// @return whether it did
/// @throws stroma::format_error  trained with other options; or for other base models: the message names both
[[nodiscard]] bool load_steph(const transfer_fold& fold, stroma::steph<float>& model);
/// Writes one encoder for all bags as a model that `stroma predict` takes.
void save_static(const transfer_fold& fold, const encoder_model& encoder);

}  // namespace program
