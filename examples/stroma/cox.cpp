// stroma cox: Cox's model of columns of a table.
#include <cmath>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <stroma/adapt/std.hpp>
#include <stroma/core/array.hpp>
#include <stroma/io/table.hpp>
#include <stroma/survival/concordance.hpp>
#include <stroma/survival/cox_regression.hpp>

#include "command_line.hpp"
#include "follow_up.hpp"
#include "json_option.hpp"
#include "program.hpp"

namespace program {
namespace {

struct cox_options {
  follow_up_options columns;
  std::vector<std::string> covariates;
  std::string ties = "efron", offset;
  json_option as_json;
  double ridge = 0;
};

const std::map<std::string, stroma::ties> tie_methods{
    {"breslow", stroma::ties::breslow}, {"efron", stroma::ties::efron}, {"exact", stroma::ties::exact}};

double two_sided(double z) { return std::erfc(std::abs(z) / std::sqrt(2.0)); }

struct fitted_model {
  stroma::cox_fit fit;
  double concordance = 0, concordance_error = 0;
};

fitted_model fit(const cox_options& o, const followed_patients& patients, const stroma::table& table) {
  stroma::cpu_context ctx;
  const auto rows = table.rows(), columns = static_cast<stroma::index_t>(o.covariates.size());
  stroma::array<double, 2> x(rows, columns);
  for (stroma::index_t j = 0; j < columns; ++j) {
    const auto values = table.numbers(o.covariates[static_cast<std::size_t>(j)]);
    for (stroma::index_t i = 0; i < rows; ++i) x(i, j) = values[static_cast<std::size_t>(i)];
  }
  std::vector<double> offset;
  if (!o.offset.empty()) offset = table.numbers(o.offset);
  const auto order = patients.order(ctx);
  fitted_model m;
  m.fit = stroma::cox_regression(ctx, x, order,
                                 {.tie_method = tie_methods.at(o.ties),
                                  .offset = offset,
                                  .ridge = o.ridge,
                                  .collinear = stroma::collinear_columns::drop});
  std::vector<double> score(static_cast<std::size_t>(rows));
  for (stroma::index_t i = 0; i < rows; ++i) {
    double& s = score[static_cast<std::size_t>(i)];
    s = offset.empty() ? 0 : offset[static_cast<std::size_t>(i)];
    for (stroma::index_t j = 0; j < columns; ++j) s += x(i, j) * m.fit.coefficient[j];
  }
  const auto c = stroma::concordance(ctx, score, order, {.standard_error = true});
  m.concordance = c.value;
  m.concordance_error = c.standard_error();
  return m;
}

json test_json(const stroma::chi_square_test& t) {
  return {{"statistic", number_or_null(t.statistic)}, {"df", t.degrees_of_freedom}, {"p", number_or_null(t.p_value)}};
}

json describe(const cox_options& o, const followed_patients& patients, const fitted_model& m) {
  json coefficients = json::object();
  for (std::size_t j = 0; j < o.covariates.size(); ++j) {
    const auto at = static_cast<stroma::index_t>(j);
    const double b = m.fit.coefficient[at], se = m.fit.standard_error[at];
    const bool dropped = m.fit.status[at] == stroma::coefficient_status::dropped;
    coefficients[o.covariates[j]] = {
        {"estimate", dropped ? json() : json(b)},
        {"se", number_or_null(se)},
        {"hazard_ratio", dropped ? json() : json(std::exp(b))},
        {"z", number_or_null(dropped ? std::nan("") : b / se)},
        {"p", number_or_null(dropped ? std::nan("") : two_sided(b / se))},
        {"status", dropped                                                     ? "collinear"
                   : m.fit.status[at] == stroma::coefficient_status::diverging ? "infinite"
                                                                               : "estimated"}};
  }
  return {{"n", patients.time.size()},
          {"events", static_cast<std::int64_t>(patients.events())},
          {"ties", o.ties},
          {"coefficients", coefficients},
          {"log_likelihood", {{"null", m.fit.null_log_likelihood}, {"fitted", m.fit.log_likelihood}}},
          {"tests",
           {{"likelihood_ratio", test_json(m.fit.likelihood_ratio_test)},
            {"wald", test_json(m.fit.wald_test)},
            {"score", test_json(m.fit.score_test)}}},
          {"concordance", {{"value", number_or_null(m.concordance)}, {"se", number_or_null(m.concordance_error)}}},
          {"iterations", m.fit.iterations},
          {"converged", m.fit.converged}};
}

void print(const cox_options& o, const followed_patients& patients, const fitted_model& m) {
  std::size_t width = 9;
  for (const auto& name : o.covariates) width = std::max(width, name.size());
  std::cout << "n = " << patients.time.size() << ", events = " << fixed(patients.events(), 0) << ", ties: " << o.ties
            << "\n\n"
            << left("", width) << right("coef", 11) << right("exp(coef)", 11) << right("se(coef)", 11) << right("z", 9)
            << right("p", 11) << right("95 % interval of exp(coef)", 30) << '\n';
  const double reach = stroma::detail::two_sided_normal_quantile(0.95);
  for (std::size_t j = 0; j < o.covariates.size(); ++j) {
    const auto at = static_cast<stroma::index_t>(j);
    const double b = m.fit.coefficient[at], se = m.fit.standard_error[at];
    std::cout << left(o.covariates[j], width);
    if (m.fit.status[at] == stroma::coefficient_status::dropped) {
      std::cout << right("-", 11) << "  constant, or a combination of the covariates before it\n";
      continue;
    }
    std::cout << right(short_number(b), 11) << right(short_number(std::exp(b)), 11) << right(short_number(se), 11)
              << right(fixed(b / se, 3), 9) << right(short_number(two_sided(b / se), 3), 11)
              << right(short_number(std::exp(b - reach * se)) + " to " + short_number(std::exp(b + reach * se)), 30)
              << (m.fit.status[at] == stroma::coefficient_status::diverging ? "  infinite" : "") << '\n';
  }
  const auto test = [](const char* name, const stroma::chi_square_test& t) {
    std::cout << left(name, 24) << "= " << short_number(t.statistic) << " on " << t.degrees_of_freedom
              << " df, p = " << short_number(t.p_value, 3) << '\n';
  };
  std::cout << "\nConcordance             = " << fixed(m.concordance, 4) << " (se " << fixed(m.concordance_error, 4)
            << ")\n";
  test("Likelihood ratio test", m.fit.likelihood_ratio_test);
  test("Wald test", m.fit.wald_test);
  test("Score (log-rank) test", m.fit.score_test);
}

void run(const cox_options& o) {
  const stroma::table table(o.columns.table);
  const followed_patients patients("cox", table, o.columns);
  const fitted_model m = fit(o, patients, table);
  for (std::size_t j = 0; j < o.covariates.size(); ++j)
    if (m.fit.status[static_cast<stroma::index_t>(j)] == stroma::coefficient_status::diverging)
      std::cerr << "stroma: note: the likelihood rises for ever in '" << o.covariates[j]
                << "': its coefficient is infinite\n";
  if (o.as_json.give(describe(o, patients, m))) print(o, patients, m);
}

}  // namespace

void add_cox(CLI::App& app) {
  const auto o = std::make_shared<cox_options>();
  CLI::App* command = app.add_subcommand("cox", "Cox's proportional hazards model of columns of a CSV table");
  add_follow_up_options(*command, o->columns);
  command->add_option("--covariates", o->covariates, "columns of numbers")
      ->required()
      ->delimiter(',')
      ->type_name("COL,..");
  command->add_option("--ties", o->ties, "how deaths at one time are counted; exact takes no weights")
      ->check(CLI::IsMember(tie_methods).description(""))
      ->type_name("efron|breslow|exact")
      ->capture_default_str();
  command->add_option("--offset", o->offset, "column: a part of the score whose coefficient is 1")->type_name("COL");
  command
      ->add_option("--ridge", o->ridge,
                   "ridge / 2 times the sum of squared coefficients is taken off the log likelihood")
      ->check(CLI::Range(0.0, 1e300).description(""))
      ->type_name("NUMBER");
  o->as_json.add_to(*command);
  command->footer(
      "A covariate that is constant, or a combination of those before it, is left out and shown as '-'; one in which "
      "the\n"
      "likelihood rises for ever is called infinite.\n"
      "JSON: {\"coefficients\": {NAME: {\"estimate\", \"se\", \"hazard_ratio\", \"z\", \"p\", \"status\"}}, "
      "\"log_likelihood\": {\"null\", \"fitted\"}, \"tests\", \"concordance\", ..}\n\n"
      "Example:\n  stroma cox --table lung.csv --time time --event status --covariates age,sex --ties efron --strata "
      "site");
  command->callback([o] { run(*o); });
}

}  // namespace program
