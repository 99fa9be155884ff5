#include <cstddef>
#include <fstream>
#include <span>
#include <string>
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

#if defined(__linux__)
TEST_CASE("memory_map: released pages leave memory and come back") {
  const auto resident = [] {
    std::ifstream statm("/proc/self/statm");
    std::size_t all = 0, pages = 0;
    statm >> all >> pages;
    return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  };
  const scratch_folder folder;
  constexpr std::size_t size = std::size_t{32} << 20, part = size / 2 + 12345;
  const memory_map map(folder.file("large", std::string(size, 'x')));
  const auto sum = [&] {
    std::size_t found = 0;
    for (const std::byte b : map.bytes()) found += std::to_integer<std::size_t>(b);
    return found;
  };
  CHECK(sum() == size * 'x');
  const std::size_t before = resident();
  map.release(map.bytes().subspan(0, part));
  const std::size_t after = resident();
  CHECK(after + part - (std::size_t{1} << 20) <= before);  // a megabyte for whatever else the process does
  CHECK(sum() == size * 'x');
  const std::string elsewhere(8192, 'y');
  map.release(std::as_bytes(std::span(elsewhere)));  // not the map's: nothing happens
  map.release({});
  CHECK(elsewhere == std::string(8192, 'y'));
}
#endif

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
