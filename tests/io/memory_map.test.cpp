#include <utility>

#include <doctest/doctest.h>

#include <stroma/io/memory_map.hpp>

#include "scratch.hpp"

using stroma::format_error;
using stroma::memory_map;

TEST_CASE("memory_map: bytes of a file, also after a move") {
  const scratch_folder folder;
  memory_map map(folder.file("a", "stroma"));
  const auto* const at = map.bytes().data();
  memory_map other = std::move(map);
  CHECK(other.text() == "stroma");
  CHECK(other.bytes().data() == at);
  CHECK(map.bytes().empty());
  other = memory_map(folder.file("b", "tumour"));
  CHECK(other.text() == "tumour");
  CHECK(other.size() == 6);
}

TEST_CASE("memory_map: an empty file has no bytes") {
  const scratch_folder folder;
  CHECK(memory_map(folder.file("empty", "")).bytes().empty());
  CHECK(memory_map().text().empty());
}

TEST_CASE("memory_map: what cannot be read is named") {
  const scratch_folder folder;
  const auto missing = folder / "none";
  CHECK(message_of<format_error>([&] { memory_map map(missing); }) ==
        "memory_map: " + missing.string() + ": does not exist, expected a readable file");
  CHECK(message_of<format_error>([&] { memory_map map(folder.path(), "bags"); }) ==
        "bags: " + folder.path().string() + ": a directory, expected a file");
#if defined(__linux__)
  CHECK(contains(message_of<format_error>([] { memory_map map("/dev/null"); }), "a device or pipe, expected a file"));
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK(contains(message_of<format_error>([&] { memory_map map(folder / "pipe"); }), "a device or pipe"));
#endif
}
