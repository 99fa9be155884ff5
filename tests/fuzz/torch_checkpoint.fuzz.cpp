// clang++ -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude tests/fuzz/torch_checkpoint.fuzz.cpp -o
// torch_checkpoint_fuzz
// ./torch_checkpoint_fuzz -max_len=8192 a_folder_of_checkpoints
// Every input is read twice: as a whole file, and as the pickle of an archive that is otherwise right, which reaches
// the interpreter without a zip directory that agrees.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <stroma/io/torch_checkpoint.hpp>

#include "../io/torch_archive.hpp"
#include "read_all.hpp"

namespace {

void read(std::span<const std::byte> bytes) {
  try {
    const stroma::torch_checkpoint file(bytes, "fuzz");
    read_all<float>(file);
    read_all<std::uint8_t>(file);
  } catch (const stroma::format_error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  read(std::as_bytes(std::span(data, size)));
  auto entries = checkpoint_entries("");
  entries[0].data.assign(reinterpret_cast<const char*>(data), size);
  const std::string archive = zip(entries);
  read(std::as_bytes(std::span(archive.data(), archive.size())));
  return 0;
}
