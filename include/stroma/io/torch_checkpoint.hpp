#pragma once
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <utility>

#include <stroma/io/detail/torch_parser.hpp>
#include <stroma/io/load_parameters.hpp>
#include <stroma/io/memory_map.hpp>
#include <stroma/io/tensor_reader.hpp>

namespace stroma {

/// The tensors of a checkpoint that torch.save wrote (`.pth`, `.pt`), from PyTorch 1.6 on:
///
///     const torch_checkpoint file("abmil.pth");                  // torch.save({"model": m.state_dict(), ...}, path)
///     abmil<float> model({.features = 1536});
///     load_parameters(file, model, {.prefix = "model."});        // the dict "model" alone
///     const auto bias = file.read<float>("model.pred_head.bias");
///
/// Nested dicts, lists and tuples join their keys and indices with dots (`optimizer.state.0.exp_avg`); a tensor saved
/// alone has the empty name. Everything that is no tensor (epochs, learning rates) is passed over. Elements are F64,
/// F32, F16, BF16, I64, I32, I16, I8 and U8; bools are U8, 0 or 1. Tensors that share a storage, transposed ones and
/// slices stay as they are in the file and are gathered when read.
///
/// The constructor maps the file, checks the archive's directory and interprets its pickle. No code of the file runs:
/// opcodes that make plain data are known, calls of the functions that rebuild a tensor, and nothing else; any other
/// opcode or global (a whole pickled module, a numpy scalar) is refused by name and byte. Sizes, offsets, shapes and
/// strides are checked against the storages before memory is taken, which stays in proportion to the pickle (at most
/// 16 MiB of it), not to the data. Refused too: compressed entries, other byte orders, tensors with more elements than
/// their storage (expanded ones: save a contiguous copy), and the format before PyTorch 1.6, with a word on how to
/// convert it. The archive's checksums are not verified.
/// Cost: O(length of the pickle + n log n) for n tensors; none in the size of the data.
class torch_checkpoint : public tensor_reader {
 public:
  /// @throws format_error  `torch_checkpoint: FILE: data.pkl byte N: found, expected what`
  explicit torch_checkpoint(const std::filesystem::path& path)
      : torch_checkpoint(memory_map(path, "torch_checkpoint"), path.string()) {}
  /// A file that is in memory already: `bytes` must outlive the reader, `name` stands in messages.
  torch_checkpoint(std::span<const std::byte> bytes, std::string name)
      : tensor_reader("torch_checkpoint", {}, std::move(name)) {
    take(detail::torch_parser(bytes, file()).parse());
  }

 private:
  torch_checkpoint(memory_map map, std::string name)
      : tensor_reader("torch_checkpoint", std::move(map), std::move(name)) {
    take(detail::torch_parser(mapped(), file()).parse());
  }
};

}  // namespace stroma
