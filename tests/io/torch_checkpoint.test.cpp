#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <support/shared.hpp>

#include <stroma/io/torch_checkpoint.hpp>
#include <stroma/models/abmil.hpp>

#include "scratch.hpp"
#include "torch_archive.hpp"

using stroma::format_error;
using stroma::index_t;
using stroma::torch_checkpoint;

namespace {

std::span<const std::byte> as_bytes(const std::string& s) { return std::as_bytes(std::span(s.data(), s.size())); }

/// A copy of its own, so that AddressSanitizer sees what is read beyond the end.
std::string refusal(const std::string& file) {
  const std::vector<char> exact(file.begin(), file.end());
  return message_of<format_error>([&] { torch_checkpoint(std::as_bytes(std::span(exact)), "f"); });
}
std::string pickle_refusal(std::string_view pickle) { return refusal(checkpoint(pickle)); }

/// Reads every element of every tensor; format_error is the only error that may come.
template <class T>
void read_all(const torch_checkpoint& file) {
  for (const stroma::stored_tensor& t : file.tensors()) {
    const auto values = file.read<T>(t.name);
    if (values.flat().size != t.size()) FAIL("another number of elements");  // a CHECK each would take minutes
    volatile unsigned char sink = 0;
    const auto* const bytes = reinterpret_cast<const unsigned char*>(values.flat().data);
    for (std::size_t i = 0; i < static_cast<std::size_t>(t.size()) * sizeof(T); ++i)
      sink = static_cast<unsigned char>(sink ^ bytes[i]);
  }
}
bool reads(const std::string& file) {
  try {
    const std::vector<char> exact(file.begin(), file.end());
    read_all<float>(torch_checkpoint(std::as_bytes(std::span(exact)), "f"));
    return true;
  } catch (const format_error&) {
    return false;
  }
}

/// As in make.py.
double eighths(index_t i, index_t start) { return static_cast<double>((7 * i + 3 * start) % 11 - 5) / 8; }

const char* const good_files[] = {"torch/abmil.pth", "torch/types.pt", "torch/views.pt", "torch/tensor.pt"};

}  // namespace

TEST_CASE_TEMPLATE("torch_checkpoint: a published model loads and says what PyTorch says", T, float, double) {
  const torch_checkpoint file(test_data("torch/abmil.pth"));
  stroma::abmil<T> model({.features = 5, .hidden = {4}, .attention = 3, .outputs = 2});
  load_parameters(file, model, {.prefix = "model."});
  index_t k = 0;
  stroma::for_each_parameter(
      [&](std::string_view, const auto& p) {
        for (index_t i = 0; i < p.size(); ++i) CHECK(static_cast<double>(p.data()[i]) == eighths(i, k));
        ++k;
      },
      model);
  CHECK(k == 10);
  CHECK(file.tensors().size() == 20);
  // The first step of SGD sets the momentum to the gradient.
  CHECK(file.read<float>("optimizer.state.9.momentum_buffer").flat()[1] == 9.5F);

  std::vector<T> x;
  for (index_t n = 0; n < 6; ++n)
    for (index_t f = 0; f < 5; ++f) x.push_back(static_cast<T>((5 * n + 3 * f) % 7 - 3) / 4);
  stroma::cpu_context ctx;
  stroma::graph<T> g(ctx, stroma::graph_mode::inference);
  const auto out = model(g, g.input(stroma::matrix_view<const T>(x.data(), 6, 5)));
  // From make.py, in float64. All weights and inputs are below 1 in size and exact; sums have up to 6 terms, and some
  // 40 roundings, exponentials included, lie on the way from x to a logit: 64 epsilon bounds their sum.
  const double logits[] = {0.29295799149619517, -0.8114864839435104};
  const double attention[] = {0.16466487884832887, 0.17640796506153344, 0.15571084471143856,
                              0.1533547392076468,  0.17488023477726153, 0.17498133739379082};
  const double bound = 64 * static_cast<double>(std::numeric_limits<T>::epsilon());
  for (index_t i = 0; i < 2; ++i) CHECK(std::abs(static_cast<double>(g.value(out.logits)(0, i)) - logits[i]) < bound);
  for (index_t n = 0; n < 6; ++n)
    CHECK(std::abs(static_cast<double>(g.value(out.attention)(n, 0)) - attention[n]) < bound);
}

TEST_CASE("torch_checkpoint: what is asked of another part of the file is refused") {
  const torch_checkpoint file(test_data("torch/abmil.pth"));
  stroma::abmil<float> model({.features = 5, .hidden = {4}, .attention = 3, .outputs = 2});
  const std::string name = test_data("torch/abmil.pth").string();
  CHECK(message_of<format_error>([&] { load_parameters(file, model); }) ==
        "torch_checkpoint: " + name + ": no tensor 'feat_proj.0.weight', expected one among the 20");
  stroma::abmil<float> wide({.features = 5, .hidden = {4}, .attention = 3, .outputs = 3});
  CHECK(message_of<format_error>([&] { load_parameters(file, wide, {.prefix = "model."}); }) ==
        "torch_checkpoint: " + name + ": tensor 'model.pred_head.weight': shape [2, 4], expected [3, 4]");
}

TEST_CASE("torch_checkpoint: every type of element") {
  const torch_checkpoint file(test_data("torch/types.pt"));
  CHECK(file.tensors().size() == 13);
  for (const char* name : {"f64", "f32", "f16", "bf16", "i64", "i32", "i16", "i8"}) {
    CAPTURE(name);
    const stroma::stored_tensor& t = file.at(name);
    std::string type(stroma::type_name(t.type));
    std::transform(type.begin(), type.end(), type.begin(),
                   [](char c) { return c < 'A' ? c : static_cast<char>(c + 32); });
    CHECK(type == name);
    CHECK(t.shape == std::vector<index_t>{2, 3});
    const auto values = file.read<double>(name);
    for (index_t i = 0; i < 6; ++i)
      CHECK(values.flat()[i] ==
            (is_floating(t.type) ? static_cast<double>(i - 3) / 4 : static_cast<double>(20 * i - 50)));
  }
  for (index_t i = 0; i < 6; ++i) {
    CHECK(file.read<std::uint8_t>("u8").flat()[i] == 50 * i);
    CHECK(file.read<std::uint8_t>("bool").flat()[i] == (i % 3 == 0 ? 1 : 0));
  }
  CHECK(file.at("scalar").shape.empty());
  CHECK(file.read<float>("scalar").flat()[0] == 0.75F);
  CHECK(file.at("empty").shape == std::vector<index_t>{3, 0});
  CHECK(file.read<float>("empty").flat().size == 0);
  CHECK(file.at("cube").shape == std::vector<index_t>{2, 3, 4});
  for (index_t i = 0; i < 24; ++i) CHECK(file.read<std::int16_t>("cube").flat()[i] == i);
  CHECK(message_of<format_error>([&] { static_cast<void>(file.read<std::uint8_t>("i8")); }) ==
        "torch_checkpoint: " + file.file() + ": tensor 'i8': element 0 out of range, expected what U8 can hold");
}

TEST_CASE("torch_checkpoint: tensors that share a storage, transposed, sliced and permuted") {
  const torch_checkpoint file(test_data("torch/views.pt"));
  CHECK(file.tensors().size() == 7);
  CHECK(file.read<float>("layer.tied").in_place());
  CHECK(file.read<float>("slices.2.0").in_place());
  CHECK(file.at("layer.weight").bytes.data() == file.at("layer.tied").bytes.data());
  CHECK_FALSE(file.read<float>("layer.weight").in_place());
  for (index_t r = 0; r < 6; ++r)
    for (index_t c = 0; c < 4; ++c)
      CHECK(file.read<float>("layer.weight").matrix()(r, c) == static_cast<float>(6 * c + r));
  for (index_t i = 0; i < 24; ++i) CHECK(file.read<float>("layer.tied").flat()[i] == static_cast<float>(i));
  const auto slice = file.read<float>("slices.0"), columns = file.read<float>("slices.1");
  for (index_t r = 0; r < 2; ++r)
    for (index_t c = 0; c < 3; ++c) CHECK(slice.matrix()(r, c) == static_cast<float>(6 * (r + 1) + c + 1));
  for (index_t r = 0; r < 4; ++r)
    for (index_t c = 0; c < 3; ++c) CHECK(columns.matrix()(r, c) == static_cast<float>(6 * r + 2 * c));
  for (index_t i = 0; i < 4; ++i) CHECK(file.read<float>("slices.2.0").flat()[i] == static_cast<float>(20 + i));
  for (index_t i = 0; i < 5; ++i) CHECK(file.read<float>("slices.2.1").flat()[i] == static_cast<float>(19 + i));
  const auto cube = file.read<double>("7.cube");
  CHECK(cube.shape() == std::vector<index_t>{4, 2, 3});
  for (index_t a = 0; a < 4; ++a)
    for (index_t b = 0; b < 2; ++b)
      for (index_t c = 0; c < 3; ++c) CHECK(cube.flat()[6 * a + 3 * b + c] == static_cast<double>(12 * b + 4 * c + a));
}

TEST_CASE("torch_checkpoint: one tensor alone has the empty name; a moved reader keeps its tensors") {
  torch_checkpoint file(test_data("torch/tensor.pt"));
  const auto* const tensor = file.find("");
  REQUIRE(tensor != nullptr);
  const torch_checkpoint other = std::move(file);
  CHECK(other.find("") == tensor);
  for (index_t i = 0; i < 5; ++i) CHECK(other.read<double>("").flat()[i] == static_cast<double>(i) / 2);
}

TEST_CASE("torch_checkpoint: files that PyTorch reads and this does not say why") {
  const auto refused = [](const char* name) {
    const auto path = test_data(name);
    std::string message = message_of<format_error>([&] { torch_checkpoint{path}; });
    const std::string begin = "torch_checkpoint: " + path.string() + ": ";
    REQUIRE(message.starts_with(begin));
    return message.substr(begin.size());
  };
  CHECK(refused("torch/before_1_6.pth") ==
        "a pickle without archive, from before PyTorch 1.6 or saved without its zip format, expected a zip archive: "
        "convert it with torch.save(torch.load(path, map_location='cpu'), path)");
  CHECK(
      refused("torch/module.pth") ==
      "data.pkl byte 2: global 'torch.nn.modules.activation.ReLU', expected those of tensors alone: save a state_dict, "
      "tensors and numbers, not the objects they are in");
  CHECK(contains(refused("torch/expanded.pt"),
                 "a tensor at element 0, shape [3], strides [0], expected no more elements than the storage's (the "
                 "storage has 1 elements)"));
  CHECK(refused("models/loss_cox_efron.safetensors") ==
        "another beginning, expected a zip archive, as torch.save writes it");
  CHECK(refusal("") == "torch_checkpoint: f: another beginning, expected a zip archive, as torch.save writes it");
}

TEST_CASE("torch_checkpoint: a file cut anywhere is refused") {
  for (const char* name : good_files) {
    const std::string whole = bytes_of(test_data(name));
    REQUIRE(whole.size() > 1000);
    CHECK(reads(whole));
    for (std::size_t length = 0; length < whole.size(); ++length)
      if (reads(whole.substr(0, length))) FAIL_CHECK(name << " cut to " << length << " bytes");
  }
}

TEST_CASE("torch_checkpoint: a byte changed anywhere is refused or read, never worse") {
  for (const char* name : good_files) {
    const std::string whole = bytes_of(test_data(name));
    std::size_t refused = 0;
    for (std::size_t at = 0; at < whole.size(); ++at) {
      std::string bad = whole;
      bad[at] = static_cast<char>(static_cast<std::size_t>(bad[at]) ^ (1 + at * 37 % 255));
      refused += reads(bad) ? 0U : 1U;
    }
    CHECK(refused > whole.size() / 4);  // the rest are elements, padding, texts, times and other fields nobody reads
  }
}

// From here on the files are made by hand. --------------------------------------------------------------------------

TEST_CASE("torch_checkpoint: handmade, whole") {
  const std::string tensor = pickled::tensor{}.str();
  for (const bool wide : {false, true})
    for (const bool descriptor : {false, true}) {
      auto entries = checkpoint_entries(pickled::dict({pickled::text("w"), tensor}));
      for (archived& e : entries) e.wide = wide, e.descriptor = descriptor;
      const std::string bytes = zip(entries, wide);
      const torch_checkpoint file(as_bytes(bytes), "f");
      REQUIRE(file.tensors().size() == 1);
      for (index_t i = 0; i < 6; ++i) CHECK(file.read<float>("w").flat()[i] == static_cast<float>(i));
    }
  const std::string parameter =
      pickled::global("torch._utils", "_rebuild_parameter") + pickled::tuple({tensor, "\x88", "}"}) + "R";
  const std::string size = pickled::global("torch", "Size") + pickled::tuple({pickled::integers({2, 3})}) + "R";
  const std::string nested = pickled::dict(
      {pickled::text("model"),
       pickled::global("collections", "OrderedDict") + ")R(" + pickled::text("w") + parameter + "u}" +
           pickled::text("_metadata") + "}sb",
       pickled::integer(-7), "(" + pickled::text("a") + tensor + "NKaG" + std::string(8, 'x') + size + "t",
       pickled::text("epoch"), std::string("\x8a\x09", 2) + "123456789"});
  const std::string bytes = checkpoint(nested);
  const torch_checkpoint file(as_bytes(bytes), "f");
  REQUIRE(file.tensors().size() == 2);
  CHECK(file.tensors()[0].name == "model.w");
  CHECK(file.tensors()[1].name == "-7.1");
  const std::string nothing = checkpoint("}");
  CHECK(torch_checkpoint(as_bytes(nothing), "f").tensors().empty());
}

TEST_CASE("torch_checkpoint: pickles that would run code are refused, by global and byte") {
  using namespace pickled;
  const auto refused_global = [](const std::string& module, const std::string& name) {
    const std::string expected = "torch_checkpoint: f: data.pkl byte 2: global '" + module + "." + name +
                                 "', expected those of tensors alone: save a state_dict, tensors and numbers, not the "
                                 "objects they are in";
    CHECK(pickle_refusal(global(module, name) + tuple({text("echo")}) + "R") == expected);
  };
  refused_global("os", "system");
  refused_global("posix", "system");
  refused_global("subprocess", "Popen");
  refused_global("__builtin__", "eval");
  refused_global("builtins", "getattr");
  refused_global("torch", "load");
  refused_global("torch.storage", "_load_from_bytes");
  refused_global("torch._utils", "_rebuild_tensor");
  refused_global("torch._utils", "_rebuild_tensor_v2 ");
  refused_global("collections", "OrderedDict.fromkeys");
  refused_global("", "");
  CHECK(contains(pickle_refusal(text("os") + text("system") + "\x93"), "byte 20: global 'os.system'"));
  CHECK(contains(pickle_refusal(text("os") + "K\x01\x93"), "byte 11: an integer, expected a text"));
  CHECK(contains(pickle_refusal("cos"), "byte 2: a line without end"));
  // REDUCE calls what may be called and nothing else.
  CHECK(contains(pickle_refusal(text("os.system") + "(tR"), "a text, expected a global"));
  CHECK(contains(pickle_refusal("](tR"), "a list, expected a global"));
  CHECK(contains(pickle_refusal(global("torch", "FloatStorage") + "K\x09\x85R"), "a call of torch.FloatStorage"));
  CHECK(contains(pickle_refusal(global("torch", "float32") + ")R"), "a call of torch.float32"));
  CHECK(contains(pickle_refusal(global("collections", "OrderedDict") + "]R"), "a list, expected a tuple"));
  CHECK(contains(pickle_refusal(global("collections", "OrderedDict") + "]\x85R"), "OrderedDict of 1 arguments"));
  CHECK(contains(pickle_refusal(global("torch", "Size") + "K\x01\x85R"), "Size: an integer, expected a tuple"));
  CHECK(contains(pickle_refusal(global("torch._utils", "_rebuild_parameter") + tuple({"}", "\x88", "}"}) + "R"),
                 "_rebuild_parameter: a dict, expected a tensor"));
  // BUILD gives a dict attributes that nobody asks for; there is no other object to set the state of.
  const std::string state = dict({text("__setstate__"), text("os.system")});
  CHECK(contains(pickle_refusal(global("torch", "float32") + state + "b"), "a global, expected a dict"));
  CHECK(contains(pickle_refusal("]" + state + "b"), "a list, expected a dict"));
  CHECK(contains(pickle_refusal(tensor{}.str() + state + "b"), "a tensor, expected a dict"));
  CHECK(contains(pickle_refusal("})b"), "a tuple, expected a dict"));
  const std::string harmless = checkpoint("}" + state + "b");
  CHECK(torch_checkpoint(as_bytes(harmless), "f").tensors().empty());
}

TEST_CASE("torch_checkpoint: every opcode that is not data is refused by name") {
  // Of Python's pickletools: those that make plain data, those that this reader gives a narrow meaning, and STOP.
  const std::string known = "(.NJKMGXTUBC]})tasuqrhjcRbQe\x80\x85\x86\x87\x88\x89\x8a\x8c\x8d\x8e\x93\x94\x95\x96";
  for (int code = 0; code < 256; ++code) {
    const auto op = static_cast<char>(code);
    const std::string message = pickle_refusal(std::string(1, op) + std::string(16, 'x'));
    CAPTURE(code);
    if (known.find(op) == std::string::npos || code == 0x80)
      CHECK(contains(message, "data.pkl byte 2: opcode " + std::to_string(code) + " ("));
    else CHECK_FALSE(contains(message, "byte 2: opcode"));
  }
  const auto named = [](std::string_view opcodes, std::string_view name) {
    return contains(pickle_refusal(opcodes), "(" + std::string(name) + "), expected an opcode that makes plain data");
  };
  CHECK(named("(ios\nsystem\n", "INST"));
  CHECK(named("(}o", "OBJ"));
  CHECK(named(pickled::global("collections", "OrderedDict") + ")\x81", "NEWOBJ"));
  CHECK(named(pickled::global("collections", "OrderedDict") + ")}\x92", "NEWOBJ_EX"));
  CHECK(named("\x82\x01", "EXT1"));
  CHECK(named("\x83\x01\x01", "EXT2"));
  CHECK(named("\x84\x01\x01\x01\x01", "EXT4"));
  CHECK(named("Pid\n", "PERSID"));
  CHECK(named("I1\n", "INT"));
  CHECK(named("\x80\x02", "PROTO"));
  CHECK(named("\xff", "unknown"));
}

TEST_CASE("torch_checkpoint: the pickle machine's own rules") {
  using namespace pickled;
  const auto with_protocol = [](std::string_view pickle) {
    auto entries = checkpoint_entries("");
    entries[0].data = pickle;
    return refusal(zip(entries));
  };
  CHECK(contains(with_protocol(""), "data.pkl byte 0: 1 bytes to read, expected at most 0"));
  CHECK(contains(with_protocol("}."), "byte 0: no PROTO"));
  CHECK(contains(with_protocol(std::string("\x80\x01}.", 4)), "byte 0: protocol 1, expected 2 to 5"));
  CHECK(contains(with_protocol("\x80\x06}."), "protocol 6"));
  for (const char* version : {"\x80\x02}.", "\x80\x03}.", "\x80\x04}.", "\x80\x05}."})
    CHECK(with_protocol(version) == "no error");
  CHECK(contains(with_protocol("\x80\x02}"), "byte 3: 1 bytes to read"));
  CHECK(contains(with_protocol("\x80\x02}.}"), "byte 3: STOP before the end, expected nothing after it"));
  CHECK(contains(pickle_refusal(""), "byte 2: STOP with 0 values and 0 marks, expected one value"));
  CHECK(contains(pickle_refusal("}}"), "STOP with 2 values"));
  CHECK(contains(pickle_refusal("}("), "STOP with 1 values and 1 marks"));
  CHECK(contains(pickle_refusal("\x85"), "0 values since the last mark, expected at least 1"));
  CHECK(contains(pickle_refusal("K\x01(\x85"), "0 values since the last mark"));
  CHECK(contains(pickle_refusal("K\x01(K\x02\x86"), "1 values since the last mark, expected at least 2"));
  CHECK(contains(pickle_refusal("](a"), "0 values since the last mark"));
  CHECK(contains(pickle_refusal("t"), "no mark"));
  CHECK(contains(pickle_refusal("(e"), "nothing to add to, expected a list"));
  CHECK(contains(pickle_refusal("Na"), "nothing to add to, expected a list"));
  CHECK(contains(pickle_refusal("}Na"), "a dict, expected a list"));
  CHECK(contains(pickle_refusal(")(Ne"), "a tuple, expected a list"));
  CHECK(contains(pickle_refusal("](NNu"), "None as a dict's key"));
  CHECK(contains(pickle_refusal("](K\x01Nu"), "a list, expected a dict"));
  CHECK(contains(pickle_refusal("}(K\x01u"), "a key without value"));
  CHECK(contains(pickle_refusal("})Ns"), "a tuple as a dict's key, expected a text or an integer"));
  CHECK(contains(pickle_refusal("q\x01"), "0 values since the last mark"));
  CHECK(contains(pickle_refusal("h\x01"), "memo 1, expected one that has been set"));
  CHECK(contains(pickle_refusal("}q\x02h\x01"), "memo 1, expected one that has been set"));
  CHECK(contains(pickle_refusal("}q\x7f"), "memo 127, expected below 6"));
  CHECK(contains(pickle_refusal("}r\xff\xff\xff\xff"), "memo 4294967295, expected below 9"));
  CHECK(contains(pickle_refusal("}\x94j\x01" + std::string(3, '\0')), "memo 1, expected one"));
  CHECK(contains(pickle_refusal("X\xff\xff\xff\xff"), "4294967295 bytes to read, expected at most 1"));
  CHECK(contains(pickle_refusal("\x8d" + std::string(8, '\xff')), "18446744073709551615 bytes to read"));
  CHECK(contains(pickle_refusal("B" + little(2, 4) + "x"), "no error") == false);
  CHECK(contains(pickle_refusal("\x95" + little(2, 8) + "}"), "a frame of 2 bytes, expected") == false);
  CHECK(contains(pickle_refusal("\x95" + little(3, 8) + "}"), "a frame of 3 bytes, expected at most 2"));
  CHECK(contains(pickle_refusal("K\x01Q"), "an integer, expected a tuple"));
  // Values that are no tensors are passed over, whatever they are.
  for (const std::string& value :
       {std::string("N"), std::string("\x88"), text("t"), "C\x01" + std::string("x"), "U\x01" + std::string("x"),
        "\x8c\x01" + std::string("x"), "\x8e" + little(1, 8) + "x", "\x96" + little(1, 8) + "x", integer(-1),
        std::string("\x8a\x00", 2), "M" + little(7, 2), "J" + little(7, 4), global("torch", "bfloat16"),
        pickled::storage("FloatStorage", "0", 6)})
    CHECK(pickle_refusal(dict({text("k"), value})) == "no error");
}

TEST_CASE("torch_checkpoint: integers of every width mean what Python means") {
  using namespace pickled;
  const auto shape_text = [](const std::string& extent) {
    return pickle_refusal(pickled::global("torch._utils", "_rebuild_tensor_v2") +
                          tuple({storage("FloatStorage", "0", 6), extent, integers({7}), integers({1}), "\x89", "}"}) +
                          "R");
  };
  CHECK(contains(shape_text("K\xff"), "element 255,"));
  CHECK(contains(shape_text("M\xff\xff"), "element 65535,"));
  CHECK(contains(shape_text("J\xfe\xff\xff\xff"), "element -2,"));
  CHECK(contains(shape_text("\x8a\x01\xfe"), "element -2,"));
  CHECK(contains(shape_text(std::string("\x8a\x02\xfe\x00", 4)), "element 254,"));
  CHECK(contains(shape_text("\x8a\x02\x01\x80"), "element -32767,"));
  CHECK(contains(shape_text(std::string("\x8a\x00", 2)), "element 0,"));
  CHECK(contains(shape_text("\x8a\x08" + little(std::uint64_t{1} << 63, 8)), "element -9223372036854775808,"));
  CHECK(contains(shape_text("\x8a\x09" + std::string(9, '\1')), "a wide integer, expected an integer"));
  CHECK(contains(shape_text("\x88"), "a tensor's offset: a bool, expected an integer"));
}

TEST_CASE("torch_checkpoint: nesting, circles and shared values have their limits") {
  using namespace pickled;
  const std::size_t deep = 100000;
  CHECK(contains(pickle_refusal(std::string(deep, ']') + std::string(deep - 1, 'a')), "deeper than 64 levels"));
  CHECK(contains(pickle_refusal("N" + std::string(deep, '\x85')), "deeper than 64 levels"));
  CHECK(contains(pickle_refusal(std::string(deep, '(')), "STOP with 0 values"));
  CHECK(contains(pickle_refusal("]q\x01h\x01" + std::string("a")), "deeper than 64 levels"));
  CHECK(contains(pickle_refusal("}q\x01" + text("k") + "h\x01s"), "value 'k.k.k"));
  // A list of ten of a list of ten ... : a thousand bytes for 10^20 values.
  std::string laughs = tensor{}.str() + "q\x01";
  for (char level = 2; level < 22; ++level) {
    laughs += "](";
    for (int i = 0; i < 10; ++i) laughs += std::string("h") + static_cast<char>(level - 1);
    laughs += std::string("eq") + level;
  }
  laughs = "(" + laughs + "t";
  CHECK(contains(pickle_refusal(laughs), "shared values that unfold to too many"));
  // The same with names: 18 MB of them from a key of 10 KB and 60 levels.
  std::string names = text(std::string(10000, 'k')) + "q\x01" + tensor{}.str() + "q\x02";
  for (int level = 0; level < 60; ++level) names += "}(h\x01h\x02uq\x02";
  names = "(" + names + "t";
  CHECK(contains(pickle_refusal(names), "shared values that unfold to too many"));
  std::string twice = text(std::string(1000, 'k')) + "q\x01" + tensor{}.str() + "q\x02";
  for (int level = 0; level < 60; ++level) twice += "](h\x02h\x02" + std::string("eq\x02");
  CHECK(contains(pickle_refusal("(" + twice + "t"), "shared values that unfold to too many"));
  // One state_dict under three names is no bomb.
  const std::string shared = dict({text("w"), tensor{}.str(), text("v"), tensor{}.str()}) + "q\x01";
  const std::string thrice =
      checkpoint(dict({text("a"), shared, text("b"), "h\x01", text("c"), "(h\x01" + std::string("t")}));
  const torch_checkpoint file(as_bytes(thrice), "f");
  CHECK(file.tensors().size() == 6);
  CHECK(file.contains("c.0.v"));
  // Tensors of five bytes each, remade from what the memo has.
  std::string remade = global("torch._utils", "_rebuild_tensor_v2") + "q\x01" +
                       tuple({storage("FloatStorage", "0", 6), integer(0), ")", ")", "\x89", "}"}) + "q\x02";
  for (int i = 0; i < 100; ++i) remade += "h\x01h\x02R";
  CHECK(contains(pickle_refusal("(" + remade + "t"), "tensors, expected fewer in a pickle of this length"));
  auto entries = checkpoint_entries("}");
  entries[0].data = "\x80\x02" + text(std::string(std::size_t{1} << 24, ' ')) + ".";
  CHECK(contains(refusal(zip(entries)), "data.pkl of 16777224 bytes, expected at most 16777216"));
}

TEST_CASE("torch_checkpoint: names come once and are UTF-8") {
  using namespace pickled;
  const std::string t = tensor{}.str();
  const std::string twice = "torch_checkpoint: f: tensor '1': this name twice, expected each name once";
  CHECK(pickle_refusal(dict({text("1"), t, integer(1), t})) == twice);
  CHECK(pickle_refusal(dict({text("1"), t, text("1"), t})) == twice);
  CHECK(pickle_refusal(dict({text("a"), dict({text("b"), t}), text("a.b"), t})) ==
        "torch_checkpoint: f: tensor 'a.b': this name twice, expected each name once");
  CHECK(contains(pickle_refusal(dict({text("\xff"), t})), "a name that is not UTF-8"));
  CHECK(pickle_refusal(dict({text("\xc3\xa9"), t})) == "no error");
}

TEST_CASE("torch_checkpoint: shapes, strides, offsets and storages are held against the file") {
  using namespace pickled;
  constexpr std::int64_t big = std::int64_t{1} << 62, most = std::numeric_limits<std::int64_t>::max();
  const auto refused = [](const tensor& t) { return pickle_refusal(t.str()); };
  CHECK(refused({}) == "no error");
  CHECK(refused({.shape = {}, .strides = {}}) == "no error");
  CHECK(refused({.shape = {1, 6, 1}, .strides = {most, 1, most}}) == "no error");
  CHECK(refused({.offset = 6, .shape = {0, most}, .strides = {1, 1}}) == "no error");
  CHECK(refused({.shape = {3, 2}, .strides = {2, 1}}) == "no error");
  CHECK(refused({.shape = {3, 2}, .strides = {1, 3}}) == "no error");
  CHECK(refused({.shape = {2, 2}, .strides = {5, 0}}) == "no error");
  CHECK(contains(refused({.offset = 1}),
                 "a tensor at element 1, shape [2, 3], strides [3, 1], expected all elements in "
                 "the storage (the storage has 6 elements)"));
  for (const tensor& t : std::vector<tensor>{{.shape = {3, 2}, .strides = {3, 1}},
                                             {.shape = {2, 3}, .strides = {4, 1}},
                                             {.shape = {2, 3}, .strides = {3, most}},
                                             {.shape = {2, 3}, .strides = {most, most}},
                                             {.offset = 6, .shape = {}, .strides = {}},
                                             {.offset = 6, .shape = {1}, .strides = {1}},
                                             {.offset = 5, .shape = {2}, .strides = {1}}})
    CHECK(contains(refused(t), "expected all elements in the storage"));
  for (const tensor& t : std::vector<tensor>{{.shape = {7}, .strides = {0}},
                                             {.shape = {7}, .strides = {1}},
                                             {.shape = {most, most}, .strides = {0, 0}},
                                             {.shape = {big, 4}, .strides = {0, 0}},
                                             {.shape = {big, 0, big}, .strides = {0, 0, 0}},
                                             {.shape = {most}, .strides = {1}}})
    CHECK(contains(refused(t), "no more elements than the storage's"));
  CHECK(contains(refused({.offset = -1}), "expected a begin in the storage"));
  CHECK(contains(refused({.offset = most}), "expected a begin in the storage"));
  CHECK(contains(refused({.offset = 7, .shape = {0}, .strides = {1}}), "expected a begin in the storage"));
  CHECK(contains(refused({.shape = {2, -3}}), "a tensor's shape [2, -3], expected integers of 0 or more"));
  CHECK(contains(refused({.strides = {3, -1}}), "a tensor's strides [3, -1], expected integers of 0 or more"));
  CHECK(contains(refused({.strides = {1}}), "shape [2, 3] with strides [1], expected as many"));
  CHECK(contains(refused({.shape = std::vector<std::int64_t>(33, 1)}), "a tensor's shape of 33 extents"));
  CHECK(contains(refused({.metadata = dict({text("neg"), "\x88"})}), "a tensor with metadata, expected none"));
  CHECK(refused({.metadata = "}"}) == "no error");
  CHECK(refused({.metadata = "N"}) == "no error");
  CHECK(contains(refused({.metadata = "NN"}), "_rebuild_tensor_v2 of 8 arguments"));
  CHECK(contains(refused({.stored = "N"}), "a tensor's storage: None, expected a storage"));
  // Storages.
  const auto stored = [&](const std::string& s) { return refused({.stored = s}); };
  CHECK(contains(stored(storage("FloatStorage", "0", 7)), "storage '0' of 7 elements of F32, expected the 24 bytes"));
  CHECK(contains(stored(storage("FloatStorage", "0", 5)), "storage '0' of 5 elements"));
  CHECK(contains(stored(storage("FloatStorage", "0", -6)), "storage '0' of -6 elements"));
  CHECK(contains(stored(storage("FloatStorage", "0", big | 6)), "elements of F32, expected the 24 bytes"));
  CHECK(contains(stored(storage("DoubleStorage", "0", 6)), "storage '0' of 6 elements of F64"));
  CHECK(stored(storage("HalfStorage", "0", 12)) == "no error");
  CHECK(contains(stored(storage("FloatStorage", "1", 6)), "storage '1', expected an entry data/<storage>"));
  CHECK(contains(stored(storage("FloatStorage", "../data.pkl", 6)), "storage '../data.pkl', expected an entry"));
  CHECK(contains(stored(storage("FloatStorage", std::string(100000, '0'), 6)), "expected an entry"));
  CHECK(contains(stored(storage("float32", "0", 6)), "a storage of type float32"));
  CHECK(contains(stored(storage("ComplexFloatStorage", "0", 3)), "global 'torch.ComplexFloatStorage'"));
  CHECK(contains(stored("(Q"), "0 values since the last mark"));
  CHECK(contains(stored(")Q"), "a storage of 0 parts, expected 5"));
  CHECK(contains(stored(tuple({text("module"), "N", "N", "N", "N"}) + "Q"), "a persistent id of another kind"));
  CHECK(contains(stored(tuple({text("storage"), "N", "N", "N", "N"}) + "Q"), "a storage's type: None"));
}

TEST_CASE("torch_checkpoint: archives that are not what torch.save writes") {
  const std::string pickle = pickled::dict({pickled::text("w"), pickled::tensor{}.str()});
  const auto changed = [&](auto&& change) {
    auto entries = checkpoint_entries(pickle);
    change(entries);
    return refusal(zip(entries));
  };
  using list = std::vector<archived>;
  CHECK(changed([](list&) {}) == "no error");
  CHECK(changed([](list& e) { e[2].method = 8; }) ==
        "torch_checkpoint: f: entry 'a/data/0': compressed (method 8), expected stored, as PyTorch writes it");
  CHECK(changed([](list& e) { e[2].flags = 1; }) ==
        "torch_checkpoint: f: entry 'a/data/0': encrypted, expected an entry without password");
  CHECK(contains(changed([](list& e) { e[2].flags = 0x40; }), "entry 'a/data/0': flags 64"));
  CHECK(changed([](list& e) { e[2].flags = 0x800; }) == "no error");
  CHECK(contains(changed([](list& e) { e[2].local_name = "a/data/9"; }), "a header that disagrees with the directory"));
  CHECK(contains(changed([](list& e) { e.push_back(e[2]); }), "entry 'a/data/0': this name twice, expected once"));
  CHECK(contains(changed([](list& e) { e.push_back({"b/data.pkl", "x"}); }), "two entries data.pkl, expected one"));
  CHECK(contains(changed([](list& e) { e[0].name = e[0].local_name = "data.pkl"; }), "no entry <archive>/data.pkl"));
  CHECK(
      contains(changed([](list& e) { e[0].name = e[0].local_name = "a/b/data.pkl"; }), "no entry <archive>/data.pkl"));
  CHECK(contains(changed([](list& e) { e[1].data = "big"; }), "byteorder 'big', expected 'little'"));
  CHECK(changed([](list& e) { e.erase(e.begin() + 1); }) == "no error");  // PyTorch before 2.1 wrote none
  CHECK(contains(changed([](list& e) { e.pop_back(); }), "no entry <archive>/version"));
  for (const char* version : {"", "0", "11", "3.1", "x"})
    CHECK(contains(changed([&](list& e) { e.back().data = version; }),
                   "version '" + std::string(version) + "', expected 1 to 10"));
  for (const char* version : {"1\n", "10", "2"})
    CHECK(changed([&](list& e) { e.back().data = version; }) == "no error");
  CHECK(contains(refusal(zip({})), "another beginning"));
}

TEST_CASE("torch_checkpoint: directories that lie about places and sizes") {
  const std::string pickle = pickled::dict({pickled::text("w"), pickled::tensor{}.str()});
  const std::string good = zip(checkpoint_entries(pickle));
  const auto with = [](std::string bytes, std::size_t at, const std::string& value) {
    return refusal(bytes.replace(at, value.size(), value));
  };
  const std::size_t end = good.size() - 22;
  const auto record = [](const std::string& bytes, std::string_view name) { return bytes.rfind(name) - 46; };
  CHECK(contains(refusal(good + "x"), "no end record in the last 22 bytes"));
  CHECK(contains(with(good + "x", end + 20, little(1, 2)), "a whole zip archive without comment"));
  CHECK(contains(with(good, end + 4, little(1, 2)), "an archive of several disks"));
  CHECK(contains(with(good, end + 8, little(3, 2)), "an archive of several disks"));
  CHECK(contains(with(good, end + 8, little(3, 2) + little(3, 2)), "a directory that ends at byte"));
  CHECK(contains(with(good, end + 8, little(5, 2) + little(5, 2)), "begins no entry of the directory"));
  CHECK(contains(with(good, end + 12, little(0, 4)), "a directory of 0 bytes"));
  CHECK(contains(with(good, end + 16, little(0, 4)), "at byte 0, expected one that ends at byte"));
  CHECK(contains(with(good, end + 16, little(0xffffffff, 4)), "at byte 4294967295"));
  const std::size_t storage = record(good, "a/data/0"), header = good.find("a/data/0") - 30;
  CHECK(contains(with(good, storage + 20, little(23, 4)), "23 bytes stored, expected 24"));
  CHECK(contains(with(good, storage + 28, little(0xffff, 2)), "longer than the directory's rest"));
  CHECK(contains(with(good, storage + 34, little(1, 2)), "on another disk"));
  CHECK(contains(with(good, storage + 42, little(header + 1, 4)), "no header at byte"));
  CHECK(contains(with(good, storage + 42, little(0xfffffff0, 4)), "no header at byte 4294967280"));
  CHECK(contains(with(good, storage + 42, little(0, 4)), "a header that disagrees"));
  CHECK(contains(with(good, header + 22, little(23, 4)), "a header that disagrees"));
  CHECK(contains(with(good, header + 14, little(0, 4)), "a header that disagrees"));
  CHECK(contains(with(good, header + 26, little(0xffff, 2)), "a header that disagrees"));
  CHECK(contains(with(good, header + 28, little(0xffff, 2)), "a header that disagrees"));
  std::string longer = good;
  for (const std::size_t at : {storage + 20, storage + 24, header + 18, header + 22})
    longer.replace(at, 4, little(4096, 4));
  CHECK(contains(refusal(longer), "entry 'a/data/0': 4096 bytes at byte"));
  for (const std::size_t at : {storage + 20, storage + 24, header + 18, header + 22})
    longer.replace(at, 4, little(28, 4));
  CHECK(contains(refusal(longer), "ends: entries must not overlap"));
  // An entry inside another's data.
  const std::string inner = zip({{"a/data/1", "x"}});
  auto nested = checkpoint_entries(pickle);
  nested.push_back({"a/data/2", inner.substr(0, 30 + 8 + 3 + 1)});
  nested.push_back({"a/data/1", "x"});
  const std::string outer = zip(nested);
  CHECK(refusal(outer) == "no error");
  CHECK(contains(with(outer, record(outer, "a/data/1") + 42, little(outer.find("a/data/1") - 30, 4)),
                 "must not overlap"));
}

TEST_CASE("torch_checkpoint: 64-bit records and descriptors that lie") {
  auto entries = checkpoint_entries(pickled::dict({pickled::text("w"), pickled::tensor{}.str()}));
  for (archived& e : entries) e.wide = e.descriptor = true;
  const std::string good = zip(entries, true);
  const auto with = [&](std::size_t at, const std::string& value) {
    return refusal(std::string(good).replace(at, value.size(), value));
  };
  const std::size_t end = good.size() - 22, locator = end - 20, wide_end = locator - 56;
  CHECK(refusal(good) == "no error");
  for (const std::size_t at : {locator + 8, wide_end, wide_end + 4})
    CHECK(contains(with(at, little(1, 8)), "two end records that disagree"));
  CHECK(contains(with(end + 10, little(7, 2)), "two end records that disagree"));
  CHECK(contains(with(end + 16, little(7, 4)), "two end records that disagree"));
  CHECK(contains(with(locator + 4, little(1, 4)), "an archive of several disks"));
  CHECK(contains(with(wide_end + 16, little(1, 4)), "an archive of several disks"));
  CHECK(contains(with(wide_end + 24, little(~std::uint64_t{0}, 8) + little(~std::uint64_t{0}, 8)),
                 "begins no entry of the directory"));
  CHECK(contains(with(wide_end + 40, little(~std::uint64_t{0}, 8)), "a directory of 18446744073709551615 bytes"));
  CHECK(contains(with(wide_end + 48, little(~std::uint64_t{0}, 8)), "at byte 18446744073709551615"));
  const std::size_t name = good.rfind("a/data/0"), extra = name + 8;
  const std::string huge = little(std::uint64_t{1} << 63, 8);
  CHECK(contains(with(extra + 4, huge + huge), "9223372036854775808 bytes at byte"));
  CHECK(contains(with(extra + 4, huge), "bytes stored, expected"));
  CHECK(contains(with(extra + 20, huge), "no header at byte 9223372036854775808"));
  CHECK(contains(with(extra, little(2, 2)), "no header at byte 4294967295"));
  CHECK(contains(with(extra + 2, little(8, 2)), "bytes stored, expected"));
  CHECK(contains(with(extra + 2, little(0xffff, 2)), "no header at byte 4294967295"));
  const std::size_t descriptor = good.find("PK\x07\x08", good.find("a/data/0"));
  for (const std::size_t at : {descriptor, descriptor + 4, descriptor + 8, descriptor + 16})
    CHECK(contains(with(at, little(9, 4)), "entry 'a/data/0': a descriptor after the data that disagrees"));
}
