#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <stroma/io/detail/pickle_memory.hpp>
#include <stroma/io/file_error.hpp>

namespace stroma::detail {

/// The opcodes that make data, by their names in Python's pickletools.
enum class pickle_op : unsigned char {
  mark = '(',
  stop = '.',
  none = 'N',
  new_true = 0x88,
  new_false = 0x89,
  binint = 'J',
  binint1 = 'K',
  binint2 = 'M',
  long1 = 0x8a,
  binfloat = 'G',
  binunicode = 'X',
  short_binunicode = 0x8c,
  binunicode8 = 0x8d,
  binstring = 'T',
  short_binstring = 'U',
  binbytes = 'B',
  short_binbytes = 'C',
  binbytes8 = 0x8e,
  bytearray8 = 0x96,
  empty_list = ']',
  empty_dict = '}',
  empty_tuple = ')',
  tuple = 't',
  tuple1 = 0x85,
  tuple2 = 0x86,
  tuple3 = 0x87,
  append = 'a',
  appends = 'e',
  setitem = 's',
  setitems = 'u',
  binput = 'q',
  long_binput = 'r',
  memoize = 0x94,
  binget = 'h',
  long_binget = 'j',
  proto = 0x80,
  frame = 0x95,
  global = 'c',
  stack_global = 0x93,
  reduce = 'R',
  build = 'b',
  binpersid = 'Q'
};

/// The names of opcodes that are refused, for messages.
[[nodiscard]] constexpr std::string_view refused_opcode_name(unsigned char code) {
  struct opcode {
    unsigned char code;
    std::string_view name;
  };
  constexpr opcode refused[] = {{'i', "INST"},       {'o', "OBJ"},          {0x81, "NEWOBJ"},
                                {0x92, "NEWOBJ_EX"}, {0x82, "EXT1"},        {0x83, "EXT2"},
                                {0x84, "EXT4"},      {'P', "PERSID"},       {'0', "POP"},
                                {'1', "POP_MARK"},   {'2', "DUP"},          {'I', "INT"},
                                {'L', "LONG"},       {0x8b, "LONG4"},       {'F', "FLOAT"},
                                {'S', "STRING"},     {'V', "UNICODE"},      {'l', "LIST"},
                                {'d', "DICT"},       {'p', "PUT"},          {'g', "GET"},
                                {0x80, "PROTO"},     {0x8f, "EMPTY_SET"},   {0x90, "ADDITEMS"},
                                {0x91, "FROZENSET"}, {0x97, "NEXT_BUFFER"}, {0x98, "READONLY_BUFFER"}};
  for (const opcode& o : refused)
    if (o.code == code) return o.name;
  return "unknown";
}

/// Runs the opcodes of a pickle (protocols 2 to 5) that make data. What goes beyond data is the objects' to answer:
///     std::optional<std::int64_t> find_global(module, name)     which globals there are
///     pickle_value call(memory, global, arguments)              REDUCE
///     pickle_value storage(memory, id)                          BINPERSID
/// BUILD gives a dict attributes, which nobody asks for; every other opcode is refused, so nothing but `Objects` acts.
template <class Objects>
class pickle_machine {
 public:
  pickle_machine(pickle_memory& memory, Objects& objects)
      : memory_(memory), objects_(objects), program_(memory.program()) {}

  /// The one value that the pickle leaves. @throws format_error
  pickle_value run() {
    memory_.begin_opcode(0);
    if (number(1) != static_cast<unsigned char>(pickle_op::proto)) memory_.refuse("no PROTO", "a pickle's beginning");
    const std::uint64_t protocol = number(1);
    if (protocol < 2 || protocol > 5) memory_.refuse("protocol " + std::to_string(protocol), "2 to 5");
    while (true) {
      memory_.begin_opcode(at_);
      const auto code = static_cast<unsigned char>(number(1));
      const auto op = static_cast<pickle_op>(code);
      if (op == pickle_op::stop) return result();
      if (!literal(op) && !structure(op) && !reference(op) && !object(op))
        memory_.refuse("opcode " + std::to_string(code) + " (" + std::string(refused_opcode_name(code)) + ")",
                       "an opcode that makes plain data");
    }
  }

 private:
  using kind = pickle_kind;

  pickle_value result() {
    if (stack_.size() != 1 || !marks_.empty())
      memory_.refuse(
          "STOP with " + std::to_string(stack_.size()) + " values and " + std::to_string(marks_.size()) + " marks",
          "one value");
    if (at_ != program_.size()) memory_.refuse("STOP before the end", "nothing after it");
    return stack_.back();
  }

  bool literal(pickle_op op) {
    switch (op) {
      case pickle_op::none:
        return push({kind::none});
      case pickle_op::new_true:
      case pickle_op::new_false:
        return push({kind::boolean, 0, op == pickle_op::new_true});
      case pickle_op::binint:
        return push({kind::integer, 0, static_cast<std::int32_t>(number(4))});
      case pickle_op::binint1:
      case pickle_op::binint2:
        return push({kind::integer, 0, static_cast<std::int64_t>(number(op == pickle_op::binint1 ? 1 : 2))});
      case pickle_op::long1:
        return long_integer();
      case pickle_op::binfloat:
        take(8);
        return push({kind::real});
      case pickle_op::short_binunicode:
      case pickle_op::short_binstring:
        return text(kind::text, 1);
      case pickle_op::binunicode:
      case pickle_op::binstring:
        return text(kind::text, 4);
      case pickle_op::binunicode8:
        return text(kind::text, 8);
      case pickle_op::short_binbytes:
        return text(kind::bytes, 1);
      case pickle_op::binbytes:
        return text(kind::bytes, 4);
      case pickle_op::binbytes8:
      case pickle_op::bytearray8:
        return text(kind::bytes, 8);
      default:
        return false;
    }
  }

  bool long_integer() {
    const std::uint64_t width = number(1);
    if (width > 8) {
      take(width);
      return push({kind::wide_integer});
    }
    std::uint64_t value = number(width);
    if (width > 0 && width < 8 && (value >> (8 * width - 1)) != 0) value |= ~std::uint64_t{0} << 8 * width;
    return push({kind::integer, 0, static_cast<std::int64_t>(value)});
  }
  bool text(kind what, std::uint64_t width) {
    const std::uint64_t length = number(width);
    const auto begin = static_cast<std::int64_t>(at_);
    return push({what, static_cast<std::uint32_t>(take(length).size()), begin});
  }

  bool structure(pickle_op op) {
    switch (op) {
      case pickle_op::mark:
        marks_.push_back(stack_.size());
        return true;
      case pickle_op::empty_list:
        return push(memory_.make(kind::list));
      case pickle_op::empty_dict:
        return push(memory_.make(kind::dict));
      case pickle_op::empty_tuple:
        return push(memory_.make(kind::tuple));
      case pickle_op::tuple:
        return make_tuple(since_mark());
      case pickle_op::tuple1:
      case pickle_op::tuple2:
      case pickle_op::tuple3:
        return make_tuple(last(static_cast<std::size_t>(op) - static_cast<std::size_t>(pickle_op::tuple1) + 1));
      case pickle_op::append:
        return extend(kind::list, last(1));
      case pickle_op::appends:
        return extend(kind::list, since_mark());
      case pickle_op::setitem:
        return extend(kind::dict, last(2));
      case pickle_op::setitems:
        return extend(kind::dict, since_mark());
      default:
        return false;
    }
  }

  bool make_tuple(std::size_t begin) {
    const pickle_value made = memory_.make(kind::tuple, std::span(stack_).subspan(begin));
    stack_.resize(begin);
    return push(made);
  }
  bool extend(kind what, std::size_t begin) {
    const auto elements = std::span<const pickle_value>(stack_).subspan(begin);
    if (what == kind::dict) {
      if (elements.size() % 2 != 0) memory_.refuse("a key without value", "pairs");
      for (std::size_t i = 0; i < elements.size(); i += 2)
        if (elements[i].kind != kind::text && elements[i].kind != kind::integer)
          memory_.refuse(std::string(kind_name(elements[i].kind)) + " as a dict's key", "a text or an integer");
    }
    if (begin == floor()) memory_.refuse("nothing to add to", kind_name(what));
    memory_.append(check_kind(stack_[begin - 1], what), elements);
    stack_.resize(begin);
    return true;
  }

  bool reference(pickle_op op) {
    switch (op) {
      case pickle_op::binput:
        return put(number(1));
      case pickle_op::long_binput:
        return put(number(4));
      case pickle_op::memoize:
        return put(known_);
      case pickle_op::binget:
        return get(number(1));
      case pickle_op::long_binget:
        return get(number(4));
      default:
        return false;
    }
  }
  // Picklers number the memo from 0 on, so it has fewer entries than the pickle has bytes.
  bool put(std::uint64_t index) {
    if (index >= program_.size())
      memory_.refuse("memo " + std::to_string(index),
                     "below " + std::to_string(program_.size()) + " (the pickle's length)");
    if (index >= memo_.size()) memo_.resize(static_cast<std::size_t>(index) + 1);
    pickle_value& entry = memo_[static_cast<std::size_t>(index)];
    known_ += entry.kind == kind::absent ? 1 : 0;
    entry = stack_[last(1)];
    return true;
  }
  bool get(std::uint64_t index) {
    if (index >= memo_.size() || memo_[static_cast<std::size_t>(index)].kind == kind::absent)
      memory_.refuse("memo " + std::to_string(index), "one that has been set");
    return push(memo_[static_cast<std::size_t>(index)]);
  }

  bool object(pickle_op op) {
    switch (op) {
      case pickle_op::frame:
        if (const std::uint64_t length = number(8); length > program_.size() - at_)
          memory_.refuse("a frame of " + std::to_string(length) + " bytes",
                         "at most " + std::to_string(program_.size() - at_) + " (the pickle's rest)");
        return true;
      case pickle_op::global: {
        const std::string_view module = line();
        return find_global(module, line());
      }
      case pickle_op::stack_global: {
        const std::string_view name = memory_.text(check_kind(pop(), kind::text));
        return find_global(memory_.text(check_kind(pop(), kind::text)), name);
      }
      case pickle_op::reduce: {
        const pickle_value arguments = check_kind(pop(), kind::tuple);
        return push(objects_.call(memory_, check_kind(pop(), kind::global), arguments));
      }
      case pickle_op::build:
        check_kind(pop(), kind::dict);
        check_kind(stack_[last(1)], kind::dict);
        return true;
      case pickle_op::binpersid:
        return push(objects_.storage(memory_, check_kind(pop(), kind::tuple)));
      default:
        return false;
    }
  }
  bool find_global(std::string_view module, std::string_view name) {
    const auto found = objects_.find_global(module, name);
    if (!found)
      memory_.refuse("global " + in_quotes(std::string(module.substr(0, 80)) + "." + std::string(name.substr(0, 80))),
                     "those of tensors alone: save a state_dict, tensors and numbers, not the objects they are in");
    return push({kind::global, 0, *found});
  }

  bool push(const pickle_value& v) {
    stack_.push_back(v);
    return true;
  }
  pickle_value pop() {
    const pickle_value v = stack_[last(1)];
    stack_.pop_back();
    return v;
  }
  const pickle_value& check_kind(const pickle_value& v, kind expected) const {
    if (v.kind != expected) memory_.refuse(kind_name(v.kind), kind_name(expected));
    return v;
  }

  /// Below it no opcode may reach: the last mark, or the bottom.
  [[nodiscard]] std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  /// Where the last n values begin.
  [[nodiscard]] std::size_t last(std::size_t n) const {
    if (stack_.size() - floor() < n)
      memory_.refuse(std::to_string(stack_.size() - floor()) + " values since the last mark",
                     "at least " + std::to_string(n));
    return stack_.size() - n;
  }
  std::size_t since_mark() {
    if (marks_.empty()) memory_.refuse("no mark", "one");
    const std::size_t begin = marks_.back();
    marks_.pop_back();
    return begin;
  }

  std::string_view take(std::uint64_t length) {
    const std::size_t rest = program_.size() - at_;
    if (length > rest)
      memory_.refuse(std::to_string(length) + " bytes to read",
                     "at most " + std::to_string(rest) + " (the pickle's rest)");
    const std::string_view taken = program_.substr(at_, static_cast<std::size_t>(length));
    at_ += taken.size();
    return taken;
  }
  /// Up to 8 bytes, little-endian.
  std::uint64_t number(std::uint64_t width) {
    const std::string_view bytes = take(width);
    std::uint64_t value = 0;
    for (std::size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
    return value;
  }
  std::string_view line() {
    const std::size_t end = program_.find('\n', at_);
    if (end == std::string_view::npos) memory_.refuse("a line without end", "one that ends");
    const std::string_view text = take(end - at_);
    take(1);
    return text;
  }

  pickle_memory& memory_;
  Objects& objects_;
  std::string_view program_;
  std::size_t at_ = 0;
  std::vector<pickle_value> stack_;
  std::vector<std::size_t> marks_;
  std::vector<pickle_value> memo_;
  std::size_t known_ = 0;  // entries of the memo that have been set
};

}  // namespace stroma::detail
