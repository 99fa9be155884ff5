#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/io/bags.hpp>

#include "scratch.hpp"

using stroma::array;
using stroma::bag_set;
using stroma::format_error;
using stroma::half;
using stroma::index_t;
using stroma::read_bags;
using stroma::value_error;
using stroma::write_bags;

namespace {

template <class S>
bag_set<S> three_bags(std::vector<index_t> offsets) {
  bag_set<S> bags{array<S, 2>(offsets.back(), 3), offsets, {"slide, 1", "b", "c"}, {1, 0, 1.5}};
  for (index_t i = 0; i < bags.instances.size(); ++i)
    bags.instances.data()[i] = stroma::narrow<S>(0.125 * static_cast<double>(i) - 1);
  return bags;
}

template <class S, class T>
void check_same(const bag_set<S>& a, const bag_set<T>& b) {
  CHECK(a.ids == b.ids);
  CHECK(a.labels == b.labels);
  CHECK(a.offsets == b.offsets);
  REQUIRE(a.instances.extents() == b.instances.extents());
  bool same = true;
  for (index_t i = 0; i < a.instances.size(); ++i)
    same = same && stroma::widen<double>(a.instances.data()[i]) == stroma::widen<double>(b.instances.data()[i]);
  CHECK(same);
}

std::string refusal(std::string_view csv) {
  const scratch_folder folder;
  const auto path = folder.file("bags.csv", csv);
  std::string said = message_of<format_error>([&] { static_cast<void>(read_bags<half>(path)); });
  const std::string where = "read_bags: " + path.string() + ": ";
  return said.starts_with(where) ? said.substr(where.size()) : said;
}

}  // namespace

TEST_CASE_TEMPLATE("bags: written and read in every storage type", S, float, double, half, stroma::bfloat16) {
  const scratch_folder folder;
  const auto bags = three_bags<S>({0, 2, 3, 6});
  for (const char* name : {"a.csv", "a.safetensors"}) {
    write_bags(folder / name, bags);
    check_same(bags, read_bags<S>(folder / name));
    check_same(bags, read_bags<double>(folder / name));
    check_same(bags, read_bags<half>(folder / name));  // these values are exact in all types
  }
  CHECK(folder.count() == 2);
}

TEST_CASE("bags: empty bags live in safetensors files, not in CSV") {
  const scratch_folder folder;
  const auto bags = three_bags<float>({0, 0, 2, 2});
  write_bags(folder / "a.safetensors", bags);
  check_same(bags, read_bags<float>(folder / "a.safetensors"));
  CHECK(contains(message_of<value_error>([&] { write_bags(folder / "a.csv", bags); }), "bag 'slide, 1': no instance"));
  const auto none = three_bags<float>({0, 0, 0, 0});
  write_bags(folder / "b.safetensors", none);
  check_same(none, read_bags<half>(folder / "b.safetensors"));
}

TEST_CASE("bags: views of strided instances without labels") {
  const scratch_folder folder;
  array<float, 2> wide(4, 6);
  for (index_t i = 0; i < wide.size(); ++i) wide.data()[i] = static_cast<float>(i);
  const std::vector<index_t> offsets{0, 1, 4};
  const std::vector<std::string> ids{"x", "y"};
  const stroma::bag_view<const float> view{{wide.data(), 4, 3, 6, 2}, {offsets.data(), 3}};
  for (const char* name : {"a.csv", "a.safetensors"}) {
    write_bags(folder / name, view, {ids});
    const auto back = read_bags<float>(folder / name);
    CHECK(back.labels.empty());
    CHECK(back.offsets == offsets);
    CHECK(back.instances(3, 2) == 22);
    CHECK(back.instances(1, 1) == 8);
  }
}

TEST_CASE("bags: rows of a bag may lie apart, bags stand in order of appearance") {
  const scratch_folder folder;
  const auto path = folder.file("a.csv", "f0,bag,f1,label\n1,b,2,1\n3,a,4,0\n5,b,6,1\n7,c,8,0\n9,a,10,0\n");
  const auto bags = read_bags<float>(path);
  CHECK(bags.ids == std::vector<std::string>{"b", "a", "c"});
  CHECK(bags.labels == std::vector<double>{1, 0, 0});
  CHECK(bags.offsets == std::vector<index_t>{0, 2, 4, 5});
  const std::vector<float> expected{1, 2, 5, 6, 3, 4, 9, 10, 7, 8};
  CHECK(std::vector<float>(bags.instances.begin(), bags.instances.end()) == expected);
  const auto slides = folder.file("s.csv", "slide,score,f0\nx,1,2\n");
  const auto named = stroma::read_bag_csv<float>(slides, {.bag = "slide", .label = "score"});
  CHECK(named.labels == std::vector<double>{1});
  CHECK(named.features() == 1);
}

TEST_CASE("bags: what is wrong in a CSV is named by line and column") {
  CHECK(refusal("") == "no line, expected a header");
  CHECK(refusal("slide,f0\na,1\n") == "no column 'bag', expected one");
  CHECK(refusal("bag,label\na,1\n") == "no feature, expected at least one");
  CHECK(refusal("bag\na\n") == "no feature, expected at least one");
  CHECK(refusal("bag,f0\n") == "no instance, expected at least one bag");
  CHECK(refusal("bag,label,f0,f1\na,1,2,3\na,1,2,x\n") == "line 3, column 'f1': 'x', expected a number");
  CHECK(refusal("bag,label,f0,f1\na,1,2,\n") == "line 2, column 'f1': '', expected a number");
  CHECK(refusal("bag,f0\na,NaN\n") == "line 2, column 'f0': 'NaN', expected a number");
  CHECK(refusal("bag,f0\na,70000\n") == "line 2, column 'f0': '70000', expected a number that the bags' type can hold");
  CHECK(refusal("bag,label,f0\na,1,2\nb,0,2\na,0,2\n") ==
        "line 4, column 'label': '0', expected the label of the earlier rows of bag 'a'");
  CHECK(refusal("bag,label,f0\na,,2\n") == "line 2, column 'label': '', expected a number");
  CHECK(refusal("bag,label,f0\n,1,2\n") == "line 2, column 'bag': '', expected a bag's id");
  CHECK(refusal("bag,label,f0\na,1\n") == "line 2: 2 cells, expected 3 (the columns of the header)");
}

TEST_CASE("bags: other kinds of files, and bags that cannot be written") {
  const scratch_folder folder;
  CHECK(contains(message_of<format_error>([&] { static_cast<void>(read_bags<float>(folder.file("a.txt", "x"))); }),
                 "this kind of file, expected .csv, .safetensors or a folder"));
  auto bags = three_bags<float>({0, 2, 3, 6});
  CHECK(contains(message_of<value_error>([&] { write_bags(folder / "b.h5", bags); }), "expected .csv or .safetensors"));
  bags.ids[1] = bags.ids[0];
  CHECK(contains(message_of<value_error>([&] { write_bags(folder / "b.csv", bags); }), "write_bags: ids: 'slide, 1'"));
  bags.ids.pop_back();
  CHECK(contains(message_of<stroma::shape_error>([&] { write_bags(folder / "b.csv", bags); }),
                 "write_bags: ids: length 2, expected 3 (the bags)"));
  CHECK(folder.count() == 1);
}

TEST_CASE("bags: a folder of slides") {
  const scratch_folder folder;
  const auto bags = three_bags<half>({0, 2, 3, 6});
  for (index_t b = 0; b < 3; ++b)
    stroma::write_safetensors(folder / ("s" + std::to_string(2 - b) + ".safetensors"),
                              {stroma::named_tensor("features", bags.view()[b])});
  const auto back = read_bags<float>(folder.path());
  CHECK(back.ids == std::vector<std::string>{"s0", "s1", "s2"});
  CHECK(back.offsets == std::vector<index_t>{0, 3, 4, 6});
  CHECK(back.instances(0, 0) == stroma::to_float(bags.instances(3, 0)));
}
