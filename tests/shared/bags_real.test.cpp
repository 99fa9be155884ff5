#include <numeric>

#include <doctest/doctest.h>
#include <support/shared.hpp>

#include <stroma/io/bags.hpp>
#include <stroma/io/clinical.hpp>

TEST_CASE("bags: the real set musk1") {
  const auto shared = shared_folder();
  if (!shared) return;
  const auto bags = stroma::read_bags<float>(*shared / "data/mil/musk1.csv");
  CHECK(bags.count() == 92);
  CHECK(bags.instances.rows() == 476);
  CHECK(bags.features() == 166);
  CHECK(std::accumulate(bags.labels.begin(), bags.labels.end(), 0.0) == 47);
  const auto folds = stroma::table(*shared / "data/mil/musk1_folds.csv");
  CHECK(folds.texts("bag") == bags.ids);
  for (stroma::index_t b = 0; b < bags.count(); ++b) CHECK(bags.view().length(b) > 0);
}

TEST_CASE("bags: the real set tiger in half precision") {
  const auto shared = shared_folder();
  if (!shared) return;
  const auto bags = stroma::read_bags<stroma::half>(*shared / "data/mil/tiger.csv");
  CHECK(bags.count() == 200);
  CHECK(bags.instances.rows() == 1220);
  CHECK(bags.features() == 230);
}

TEST_CASE("clinical: follow-up of TCGA-BLCA and of the published risks") {
  const auto shared = shared_folder();
  if (!shared) return;
  const auto blca =
      stroma::read_follow_up(*shared / "data/tcga_blca_omics.csv", {.id = "case_id",
                                                                    .time = "survival_months",
                                                                    .event = "censorship",
                                                                    .coding = stroma::event_coding::censored,
                                                                    .cohort = "oncotree_code",
                                                                    .label = ""});
  CHECK(blca.ids.size() == 373);
  CHECK(std::accumulate(blca.event.begin(), blca.event.end(), 0.0) == 169);
  CHECK(blca.cohort.back() == "BLCA");
  const stroma::table risks(*shared / "data/published_risks/amilsm.csv");
  CHECK(risks.rows() == 2831);
  CHECK(risks.numbers("risk").front() == -2.2516441345214844);
}
