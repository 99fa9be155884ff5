#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>
#include <string>
#include <vector>

#include <stroma/taskvector/breadcrumbs.hpp>
#include <stroma/taskvector/dare.hpp>
#include <stroma/taskvector/della.hpp>
#include <stroma/taskvector/iso_c.hpp>
#include <stroma/taskvector/iso_cts.hpp>
#include <stroma/taskvector/merge.cuh>
#include <stroma/taskvector/model_stock.hpp>
#include <stroma/taskvector/regmean.hpp>
#include <stroma/taskvector/slerp.hpp>
#include <stroma/taskvector/task_arithmetic.hpp>
#include <stroma/taskvector/ties_merging.hpp>
#include <stroma/taskvector/tsv.hpp>
#include <stroma/taskvector/weighted_average.hpp>

#include "cuda/taskvector/device_models.hpp"

using namespace stroma_test;
using stroma::merge;
using stroma::merge_report;
using stroma::value_error;

namespace {

/// A base and models tuned from it, on both sides.
struct both_sides {
  stroma::cpu_context host_ctx;
  stroma::cuda_context ctx;
  host_merged base = random_model<host_merged>(1);
  std::vector<host_merged> tuned;
  device_merged base_there = copy_on_device<device_merged>(ctx, base);
  std::vector<device_merged> tuned_there;
  explicit both_sides(int count) : tuned(tuned_from(base, count)) {
    tuned_there = copies_on_device<device_merged>(ctx, tuned);
  }
};

bool same_report(const merge_report& a, const merge_report& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](const auto& x, const auto& y) {
           return x.name == y.name && x.size == y.size && x.vector_norms == y.vector_norms &&
                  x.change_norm == y.change_norm && x.mean_cosine == y.mean_cosine &&
                  x.sign_conflicts == y.sign_conflicts && x.kept == y.kept && x.overflowed == y.overflowed;
         });
}

/// Both overloads, model and report.
template <class Rule>
void check_rule(both_sides& x, const Rule& rule) {
  CAPTURE(std::string(rule.name()));
  const auto compare = [&](const auto& run) {
    host_merged expected;
    device_merged found;
    merge_report expected_report, found_report;
    run(expected, expected_report, found, found_report);
    CHECK(same_model(x.ctx, found, expected));
    CHECK(same_report(found_report, expected_report));
    CHECK(!same_model(x.ctx, found, host_merged{}));
  };
  compare([&](auto& expected, auto& expected_report, auto& found, auto& found_report) {
    merge(x.host_ctx, rule, x.base, x.tuned, expected, &expected_report);
    merge(x.ctx, rule, x.base_there, x.tuned_there, found, &found_report);
  });
  compare([&](auto& expected, auto& expected_report, auto& found, auto& found_report) {
    merge(x.host_ctx, rule, x.tuned, expected, &expected_report);
    merge(x.ctx, rule, x.tuned_there, found, &found_report);
  });
}

stroma::regmean with_grams(int models) {
  stroma::regmean rule;
  for (int t = 0; t < models; ++t) {
    stroma::cpu_context ctx;
    stroma::array<double, 2> gram(7, 7);
    stroma::add_gram(ctx, normal_matrix<double>(20, 7, 70 + static_cast<std::uint64_t>(t)), gram);
    rule.gram("weight", t, gram);
  }
  return rule;
}

/// A user's rule with a pass, which refuses one tensor when others have been merged.
struct refuse_last {
  std::vector<std::string>* seen;
  int passes = 0;

  [[nodiscard]] static std::string_view name() { return "refuse_last"; }
  static void begin(index_t) {}
  [[nodiscard]] bool wants_pass() const { return passes < 1; }
  template <class T>
  void observe(stroma::cpu_context&, const stroma::tensor_slices<T>& s) {
    seen->push_back(std::string(s.name) + (s.is_matrix ? "*" : ""));
  }
  void conclude() { ++passes; }
  template <class T>
  index_t merge(stroma::cpu_context&, const stroma::tensor_slices<T>& s, T* out) const {
    if (s.name == "last") throw value_error("refuse_last: last");
    std::fill_n(out, s.size(), T(1));
    return s.size();
  }
};

}  // namespace

TEST_CASE("cuda: merge: every rule gives the host's bits and report, with and without a base") {
  both_sides x(3);
  check_rule(x, stroma::weighted_average({.weights = {1, 2, 0.5}}));
  check_rule(x, stroma::task_arithmetic({.scale = 0.4}));
  check_rule(x, stroma::ties_merging());
  check_rule(x, stroma::ties_merging(stroma::ties_by_tensor(0.3)));
  check_rule(x, stroma::dare({.density = 0.5, .seed = 3}));
  check_rule(x, stroma::della({.seed = 4}));
  check_rule(x, stroma::breadcrumbs());
  check_rule(x, stroma::model_stock());
  check_rule(x, with_grams(3));
  check_rule(x, stroma::iso_c());
  check_rule(x, stroma::iso_cts());
  check_rule(x, stroma::tsv());
  both_sides two(2);
  check_rule(two, stroma::slerp({.share = 0.3}));
  check_rule(two, stroma::slerp({.scope = stroma::merge_scope::model}));
}

TEST_CASE("cuda: merge: a user's own rule sees every tensor on the host; what it refuses late changes nothing") {
  both_sides x(2);
  std::vector<std::string> seen;
  const auto before = random_model<host_merged>(5);
  auto out = copy_on_device<device_merged>(x.ctx, before);
  CHECK(message_of<value_error>([&] { merge(x.ctx, refuse_last{&seen}, x.base_there, x.tuned_there, out); }) ==
        "refuse_last: last");
  CHECK(seen == std::vector<std::string>{"weight*", "bias", "row*", "one", "none", "last"});
  CHECK(same_model(x.ctx, out, before));
}

TEST_CASE("cuda: merge: mistakes are the host's and leave the result as it was") {
  both_sides x(2);
  const auto before = random_model<host_merged>(5);
  host_merged host_out;
  auto out = copy_on_device<device_merged>(x.ctx, before);
  const auto both = [&](const auto& rule) {
    const auto host = message_of<std::exception>([&] { merge(x.host_ctx, rule, x.base, x.tuned, host_out); });
    const auto device = message_of<std::exception>([&] { merge(x.ctx, rule, x.base_there, x.tuned_there, out); });
    CHECK(device == host);
    CHECK(device != "no error");
  };
  both(stroma::weighted_average({.weights = {1, 2, 3}}));
  both(stroma::task_arithmetic({.scale = std::nan("")}));
  both(stroma::ties_merging({.density = 1.5}));
  both(with_grams(1));
  const stroma::weighted_average rule;
  CHECK(message_of<value_error>([&] { merge(x.ctx, rule, std::span<const device_merged>(), out); }) ==
        "weighted_average: models: none, expected 1 or more");
  CHECK(message_of<value_error>([&] { merge(x.ctx, rule, x.base_there, x.tuned_there, x.tuned_there[1]); }) ==
        "weighted_average: out: one of the inputs, expected an object of its own");
  x.tuned[1].last[299] = std::numeric_limits<double>::infinity();
  x.tuned_there = copies_on_device<device_merged>(x.ctx, x.tuned);
  both(rule);
  x.tuned_there[1].row = device_array<float>(1, 34);
  x.tuned[1].row = stroma::array<float, 2>(1, 34);
  both(rule);
  CHECK(same_model(x.ctx, out, before));
}

TEST_CASE("cuda: merge: what the device's checks have found is told before anything is written") {
  both_sides x(2);
  const auto before = random_model<host_merged>(5);
  auto out = copy_on_device<device_merged>(x.ctx, before);
  const auto bad = on_device(x.ctx, std::vector<float>{0, std::nanf("")});
  stroma::value_checks<stroma::backend::cuda>::finite(x.ctx, "a function", "x", stroma::as_const_view(bad));
  CHECK_THROWS_AS(merge(x.ctx, stroma::weighted_average(), x.base_there, x.tuned_there, out), value_error);
  CHECK(same_model(x.ctx, out, before));
}
