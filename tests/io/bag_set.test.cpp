#include <doctest/doctest.h>

#include <stroma/io/bag_set.hpp>

using stroma::bag_set;

TEST_CASE("bag_set: views") {
  static_assert(stroma::bag_like<bag_set<float>>);
  static_assert(std::is_same_v<stroma::scalar_of<bag_set<stroma::half>>, stroma::half>);
  bag_set<float> bags{stroma::array<float, 2>(3, 2), {0, 1, 1, 3}, {"a", "b", "c"}, {}};
  bags.instances(2, 1) = 7;
  CHECK(bags.count() == 3);
  CHECK(bags.features() == 2);
  const auto view = stroma::as_const_view(bags);
  CHECK(view.count() == 3);
  CHECK(view.length(1) == 0);
  CHECK(view[2](1, 1) == 7);
  CHECK(bag_set<float>{}.count() == 0);
  CHECK(bag_set<float>{}.view().count() == 0);
}
