#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stroma/io/file_error.hpp>

namespace stroma::detail {

/// What a value of a pickle is. Wide integers, real numbers and bytes are known to be there and nothing more.
enum class pickle_kind : unsigned char {
  absent,
  none,
  boolean,
  integer,
  wide_integer,
  real,
  text,
  bytes,
  list,
  tuple,
  dict,
  global,
  storage,
  tensor
};

[[nodiscard]] constexpr std::string_view kind_name(pickle_kind kind) {
  constexpr std::string_view names[] = {"nothing", "None",     "a bool",    "an integer", "a wide integer",
                                        "a float", "a text",   "bytes",     "a list",     "a tuple",
                                        "a dict",  "a global", "a storage", "a tensor"};
  return names[static_cast<std::size_t>(kind)];
}

struct pickle_value {
  pickle_kind kind = pickle_kind::absent;
  std::uint32_t length = 0;  ///< of a text
  std::int64_t number = 0;   ///< a bool's or integer's value, a text's place in the pickle, else an index
};

/// What a pickle's opcodes work on: texts, which stay where they are in the pickle, and lists, tuples and dicts, whose
/// elements are linked cells of one vector. Whatever refers to whatever, and in circles, nothing is owned twice or
/// freed by recursion, and memory grows by a few words an opcode.
class pickle_memory {
 public:
  /// @param program  the pickle, up to 2^32 - 1 bytes, must outlive the memory   @param place  named in messages
  pickle_memory(std::string_view program, std::string_view function, std::string place)
      : program_(program), function_(function), place_(std::move(place)) {}

  [[nodiscard]] std::string_view program() const noexcept { return program_; }
  [[nodiscard]] std::string_view text(const pickle_value& v) const {
    return program_.substr(static_cast<std::size_t>(v.number), v.length);
  }

  [[nodiscard]] pickle_value make(pickle_kind kind, std::span<const pickle_value> elements = {}) {
    containers_.emplace_back();
    const pickle_value made{kind, 0, static_cast<std::int64_t>(containers_.size() - 1)};
    append(made, elements);
    return made;
  }
  /// To a list; to a dict keys and values in turn.
  void append(const pickle_value& to, std::span<const pickle_value> elements) {
    container& c = containers_[static_cast<std::size_t>(to.number)];
    for (const pickle_value& v : elements) {
      const auto cell = static_cast<std::uint32_t>(cells_.size());
      cells_.push_back({v, 0});
      if (c.count++ == 0) c.first = cell;
      else cells_[c.last].next = cell;
      c.last = cell;
    }
  }
  /// Of a list, a tuple or, keys counted too, a dict.
  [[nodiscard]] std::size_t count(const pickle_value& v) const {
    return containers_[static_cast<std::size_t>(v.number)].count;
  }
  /// f(element) for each; a dict gives keys and values in turn.
  template <class F>
  void for_each(const pickle_value& v, F&& f) const {
    const container& c = containers_[static_cast<std::size_t>(v.number)];
    for (std::uint32_t i = 0, cell = c.first; i < c.count; ++i, cell = cells_[cell].next) f(cells_[cell].value);
  }
  [[nodiscard]] std::vector<pickle_value> elements(const pickle_value& v) const {
    std::vector<pickle_value> out;
    out.reserve(count(v));
    for_each(v, [&](const pickle_value& element) { out.push_back(element); });
    return out;
  }

  /// Later refusals name this byte.
  void begin_opcode(std::size_t at) noexcept { opcode_ = at; }
  [[noreturn]] void refuse(std::string_view found, std::string_view expected) const {
    refuse_file(function_, place_ + " byte " + std::to_string(opcode_), found, expected);
  }

 private:
  struct link {
    pickle_value value;
    std::uint32_t next;
  };
  struct container {
    std::uint32_t first = 0, last = 0, count = 0;
  };

  std::string_view program_, function_;
  std::string place_;
  std::size_t opcode_ = 0;
  std::vector<link> cells_;
  std::vector<container> containers_;
};

}  // namespace stroma::detail
