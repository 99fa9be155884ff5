#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stroma/io/file_error.hpp>

namespace stroma::detail {

/// A file in an archive that stores it as it is.
struct zip_entry {
  std::string_view name;
  std::span<const std::byte> data;
};

struct zip_contents {
  std::vector<zip_entry> entries;  ///< sorted by name, each name once

  /// nullptr where there is none.
  [[nodiscard]] const zip_entry* find(std::string_view name) const noexcept {
    const auto at = std::lower_bound(entries.begin(), entries.end(), name,
                                     [](const zip_entry& e, std::string_view n) { return e.name < n; });
    return at != entries.end() && at->name == name ? &*at : nullptr;
  }
};

/// Reads the directory of a zip archive whose entries are stored: the end record, its 64-bit form where there is one,
/// each entry of the directory and, for each, the local header and the descriptor after the data, which must agree with
/// it. Compressed and encrypted entries, archives of several disks or with a comment, and entries that overlap or leave
/// the archive are refused. Checksums are not: that would read all of the data. Cost: O(n log n) in the number of
/// entries, memory in proportion to the directory.
class zip_parser {
 public:
  zip_parser(std::span<const std::byte> bytes, std::string_view function, std::string file)
      : bytes_(bytes), function_(function), file_(std::move(file)) {}

  zip_contents parse() {
    const std::uint64_t count = read_end();
    std::uint64_t at = begin_;
    for (std::uint64_t i = 0; i < count; ++i) at = read_entry(at);
    if (at != end_)
      refuse("a directory that ends at byte " + std::to_string(at),
             std::to_string(end_) + " (where the end record is)");
    check_extents();
    std::sort(out_.entries.begin(), out_.entries.end(),
              [](const zip_entry& a, const zip_entry& b) { return a.name < b.name; });
    for (std::size_t i = 1; i < out_.entries.size(); ++i)
      if (out_.entries[i - 1].name == out_.entries[i].name)
        refuse_entry(out_.entries[i].name, "this name twice", "once");
    return std::move(out_);
  }

 private:
  static constexpr std::uint64_t end_size = 22, wide_end_size = 56, locator_size = 20, record_size = 46,
                                 header_size = 30, in_64_bits = 0xffffffff;
  static constexpr unsigned encrypted = 1, sizes_follow = 8, utf8_names = 0x800;

  struct extent {
    std::uint64_t begin, end;
    std::string_view name;
  };
  /// What the directory says of an entry.
  struct record {
    std::uint64_t flags, method, checksum, stored, size, header;
    std::string_view name = {}, extra = {};
  };

  /// What an end record says of the directory.
  struct directory {
    std::uint64_t disks, here, count, length, begin;
  };

  /// Finds the directory's place; returns the number of its entries.
  std::uint64_t read_end() {
    const std::uint64_t size = bytes_.size();
    if (size < end_size || number(size - end_size, 4) != 0x06054b50 || number(size - 2, 2) != 0)
      refuse("no end record in the last 22 bytes", "a whole zip archive without comment");
    end_ = size - end_size;
    directory d{number(end_ + 4, 4), number(end_ + 8, 2), number(end_ + 10, 2), number(end_ + 12, 4),
                number(end_ + 16, 4)};
    if (end_ >= locator_size + wide_end_size && number(end_ - locator_size, 4) == 0x07064b50) d = read_wide_end(d);
    if (d.disks != 0 || d.here != d.count) refuse("an archive of several disks", "one");
    if (d.begin > end_ || d.length != end_ - d.begin)
      refuse("a directory of " + std::to_string(d.length) + " bytes at byte " + std::to_string(d.begin),
             "one that ends at byte " + std::to_string(end_) + " (where the end record is)");
    begin_ = d.begin;
    return d.count;
  }

  /// The end record with 64-bit numbers, which PyTorch always writes before the one of 32 bits, and its locator.
  directory read_wide_end(const directory& narrow) {
    const std::uint64_t locator = end_ - locator_size;
    end_ = locator - wide_end_size;
    const directory wide{number(locator + 4, 4) | number(end_ + 16, 8), number(end_ + 24, 8), number(end_ + 32, 8),
                         number(end_ + 40, 8), number(end_ + 48, 8)};
    const auto agree = [](std::uint64_t in_narrow, std::uint64_t in_wide, std::uint64_t elsewhere) {
      return in_narrow == in_wide || in_narrow == elsewhere;
    };
    const bool same = number(locator + 8, 8) == end_ && number(end_, 4) == 0x06064b50 &&
                      number(end_ + 4, 8) == wide_end_size - 12 && agree(narrow.here, wide.here, 0xffff) &&
                      agree(narrow.count, wide.count, 0xffff) && agree(narrow.length, wide.length, in_64_bits) &&
                      agree(narrow.begin, wide.begin, in_64_bits);
    if (!same) refuse("two end records that disagree", "one directory");
    return wide;
  }

  /// Reads the entry whose record is at this byte; returns where the next one is.
  std::uint64_t read_entry(std::uint64_t at) {
    if (end_ - at < record_size || number(at, 4) != 0x02014b50)
      refuse("byte " + std::to_string(at) + " begins no entry of the directory", "one");
    record r{number(at + 8, 2),  number(at + 10, 2), number(at + 16, 4),
             number(at + 20, 4), number(at + 24, 4), number(at + 42, 4)};
    const std::uint64_t name = number(at + 28, 2), extra = number(at + 30, 2), comment = number(at + 32, 2);
    const std::uint64_t rest = end_ - at - record_size;
    if (name + extra + comment > rest)
      refuse("byte " + std::to_string(at) + " begins an entry longer than the directory's rest", "one that fits");
    r.name = text(at + record_size, name);
    r.extra = text(at + record_size + name, extra);
    widen(r, at + record_size + name);
    if ((r.flags & encrypted) != 0) refuse_entry(r.name, "encrypted", "an entry without password");
    if (r.method != 0)
      refuse_entry(r.name, "compressed (method " + std::to_string(r.method) + ")", "stored, as PyTorch writes it");
    if ((r.flags & ~std::uint64_t{sizes_follow | utf8_names}) != 0)
      refuse_entry(r.name, "flags " + std::to_string(r.flags), "those of a stored entry");
    if (r.stored != r.size)
      refuse_entry(r.name, std::to_string(r.stored) + " bytes stored", std::to_string(r.size) + " (its size)");
    if (number(at + 34, 2) != 0) refuse_entry(r.name, "on another disk", "the first");
    read_header(r);
    return at + record_size + name + extra + comment;
  }

  /// Takes the sizes and the place that do not fit 32 bits from the record's extra field 1.
  void widen(record& r, std::uint64_t extra_begin) const {
    if (r.size != in_64_bits && r.stored != in_64_bits && r.header != in_64_bits) return;
    for (std::uint64_t at = 0; at + 4 <= r.extra.size();) {
      const std::uint64_t id = number(extra_begin + at, 2), length = number(extra_begin + at + 2, 2);
      at += 4;
      if (length > r.extra.size() - at) break;
      if (id == 1) {
        std::uint64_t used = 0;
        for (std::uint64_t* field : {&r.size, &r.stored, &r.header})
          if (*field == in_64_bits && length - used >= 8) {
            *field = number(extra_begin + at + used, 8);
            used += 8;
          }
        return;
      }
      at += length;
    }
  }

  /// Checks the header before the data and the descriptor after them.
  void read_header(const record& r) {
    if (r.header > begin_ || begin_ - r.header < header_size || number(r.header, 4) != 0x04034b50)
      refuse_entry(r.name, "no header at byte " + std::to_string(r.header), "one");
    const std::uint64_t name = number(r.header + 26, 2), extra = number(r.header + 28, 2);
    const std::uint64_t rest = begin_ - r.header - header_size;
    const bool later = (r.flags & sizes_follow) != 0;
    const auto agrees = [&](std::uint64_t in_header, std::uint64_t value) {
      return in_header == value || in_header == in_64_bits || (later && in_header == 0);
    };
    const bool same = number(r.header + 6, 2) == r.flags && number(r.header + 8, 2) == r.method &&
                      agrees(number(r.header + 14, 4), r.checksum) && agrees(number(r.header + 18, 4), r.stored) &&
                      agrees(number(r.header + 22, 4), r.size) && name + extra <= rest &&
                      text(r.header + header_size, name) == r.name;
    if (!same) refuse_entry(r.name, "a header that disagrees with the directory", "the same in both");
    const std::uint64_t data = r.header + header_size + name + extra;
    if (r.size > begin_ - data)
      refuse_entry(r.name, std::to_string(r.size) + " bytes at byte " + std::to_string(data),
                   "at most " + std::to_string(begin_ - data) + " (up to the directory)");
    const std::uint64_t end = data + r.size;
    extents_.push_back({r.header, end + (later ? descriptor_size(r, end) : 0), r.name});
    out_.entries.push_back({r.name, bytes_.subspan(static_cast<std::size_t>(data), static_cast<std::size_t>(r.size))});
  }

  [[nodiscard]] std::uint64_t descriptor_size(const record& r, std::uint64_t at) const {
    for (const std::uint64_t width : {std::uint64_t{4}, std::uint64_t{8}}) {
      const std::uint64_t size = 8 + 2 * width;
      if (begin_ - at >= size && number(at, 4) == 0x08074b50 && number(at + 4, 4) == r.checksum &&
          number(at + 8, width) == r.stored && number(at + 8 + width, width) == r.size)
        return size;
    }
    refuse_entry(r.name, "a descriptor after the data that disagrees with the directory", "the same in both");
  }

  void check_extents() {
    std::sort(extents_.begin(), extents_.end(), [](const extent& a, const extent& b) { return a.begin < b.begin; });
    for (std::size_t i = 1; i < extents_.size(); ++i)
      if (extents_[i].begin < extents_[i - 1].end)
        refuse_entry(extents_[i].name, "begins at byte " + std::to_string(extents_[i].begin),
                     std::to_string(extents_[i - 1].end) + " or later (where " + in_quotes(extents_[i - 1].name) +
                         " ends: entries must not overlap)");
  }

  /// An unsigned number of up to 8 bytes, little-endian; the caller has checked that they are in the file.
  [[nodiscard]] std::uint64_t number(std::uint64_t at, std::uint64_t width) const {
    std::uint64_t value = 0;
    for (std::uint64_t i = width; i-- > 0;)
      value = value << 8 | std::to_integer<std::uint64_t>(bytes_[static_cast<std::size_t>(at + i)]);
    return value;
  }
  [[nodiscard]] std::string_view text(std::uint64_t at, std::uint64_t length) const {
    return {reinterpret_cast<const char*>(bytes_.data()) + at, static_cast<std::size_t>(length)};
  }

  [[noreturn]] void refuse(std::string_view found, std::string_view expected) const {
    refuse_file(function_, file_, found, expected);
  }
  [[noreturn]] void refuse_entry(std::string_view name, std::string_view found, std::string_view expected) const {
    refuse_file(function_, file_ + ": entry " + in_quotes(name), found, expected);
  }

  std::span<const std::byte> bytes_;
  std::string_view function_;
  std::string file_;
  std::uint64_t begin_ = 0, end_ = 0;  // of the directory
  std::vector<extent> extents_;
  zip_contents out_;
};

}  // namespace stroma::detail
