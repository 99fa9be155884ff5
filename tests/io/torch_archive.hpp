#pragma once
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

/// Opcodes of pickles and archives written by hand, independent of the library: what a test wants to be wrong is wrong.

/// A number in `width` bytes, little-endian.
inline std::string little(std::uint64_t value, int width) {
  std::string out;
  for (int i = 0; i < width; ++i, value >>= 8) out += static_cast<char>(value & 0xff);
  return out;
}

namespace pickled {

inline std::string text(std::string_view s) { return "X" + little(s.size(), 4).append(s); }
inline std::string integer(std::int64_t i) { return "\x8a\x08" + little(static_cast<std::uint64_t>(i), 8); }
inline std::string global(std::string_view module, std::string_view name) {
  return std::string("c").append(module).append("\n").append(name).append("\n");
}
inline std::string tuple(std::initializer_list<std::string_view> parts) {
  std::string out = "(";
  for (const std::string_view part : parts) out += part;
  return out + "t";
}
inline std::string integers(const std::vector<std::int64_t>& values) {
  std::string out = "(";
  for (const std::int64_t v : values) out += integer(v);
  return out + "t";
}
inline std::string dict(std::initializer_list<std::string_view> keys_and_values) {
  std::string out = "}(";
  for (const std::string_view part : keys_and_values) out += part;
  return out + "u";
}
inline std::string storage(std::string_view type, std::string_view key, std::int64_t count) {
  return tuple({text("storage"), global("torch", type), text(key), text("cpu"), integer(count)}) + "Q";
}

/// A tensor of storage 0, of 6 floats, unless told otherwise.
struct tensor {
  std::int64_t offset = 0;
  std::vector<std::int64_t> shape{2, 3}, strides{3, 1};
  std::string stored = storage("FloatStorage", "0", 6);
  std::string metadata = "";
  std::string str() const {
    return global("torch._utils", "_rebuild_tensor_v2") +
           tuple({stored, integer(offset), integers(shape), integers(strides), "\x89", "}", metadata}) + "R";
  }
};

}  // namespace pickled

/// An entry of an archive, and what its headers say where that is not the truth.
struct archived {
  std::string name, data;
  std::uint64_t flags = 0, method = 0;
  bool descriptor = false;  ///< sizes and checksum follow the data, as PyTorch writes it
  bool wide = false;        ///< sizes and place in the 64-bit field
  std::string local_name = name;
};

/// A zip archive; the checksums are 0x01020304, for nobody reads them. `wide` adds the 64-bit end record.
inline std::string zip(const std::vector<archived>& entries, bool wide = false) {
  std::string out, directory;
  const std::string checksum = little(0x01020304, 4), time = little(0, 4), all_ones = little(0xffffffff, 4);
  for (const archived& e : entries) {
    const std::uint64_t begin = out.size(), size = e.data.size(), flags = e.flags | (e.descriptor ? 8U : 0U);
    const std::string sizes = little(size, 4) + little(size, 4);
    const std::string extra =
        e.wide ? little(1, 2) + little(24, 2) + little(size, 8) + little(size, 8) + little(begin, 8) : std::string();
    const std::string shown = e.wide ? all_ones + all_ones : sizes;
    const std::string kind = little(flags, 2) + little(e.method, 2) + time;
    out += "PK\x03\x04" + little(0, 2) + kind + (e.descriptor ? little(0, 12) : checksum + shown) +
           little(e.local_name.size(), 2) + little(3, 2) + e.local_name + "pad" + e.data;
    if (e.descriptor) out += "PK\x07\x08" + checksum + (e.wide ? little(size, 8) + little(size, 8) : sizes);
    directory += "PK\x01\x02" + little(0, 4) + kind + checksum + shown + little(e.name.size(), 2) +
                 little(extra.size(), 2) + little(0, 10) + (e.wide ? all_ones : little(begin, 4)) + e.name + extra;
  }
  const std::uint64_t begin = out.size(), length = directory.size(), count = entries.size();
  out += directory;
  if (wide) {
    const std::uint64_t record = out.size();
    out += "PK\x06\x06" + little(44, 8) + little(0, 12) + little(count, 8) + little(count, 8) + little(length, 8) +
           little(begin, 8);
    out += "PK\x06\x07" + little(0, 4) + little(record, 8) + little(1, 4);
  }
  const std::string counts = wide ? little(0xffffffff, 4) : little(count, 2) + little(count, 2);
  return out + "PK\x05\x06" + little(0, 4) + counts +
         (wide ? all_ones + all_ones : little(length, 4) + little(begin, 4)) + little(0, 2);
}

/// A checkpoint of one pickle, without PROTO and STOP, and storage 0: the floats 0 to 5.
inline std::vector<archived> checkpoint_entries(std::string_view pickle) {
  const float elements[] = {0, 1, 2, 3, 4, 5};
  return {{"a/data.pkl", std::string("\x80\x02").append(pickle).append(".")},
          {"a/byteorder", "little"},
          {"a/data/0", std::string(reinterpret_cast<const char*>(elements), sizeof elements)},
          {"a/version", "3\n"}};
}
inline std::string checkpoint(std::string_view pickle) { return zip(checkpoint_entries(pickle)); }
