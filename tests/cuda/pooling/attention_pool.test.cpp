#include <stroma/pooling/attention_pool.cuh>

#include "cuda/nn/device_cases.hpp"

using namespace stroma_test;

namespace {

constexpr index_t features = 21, width = 13;

struct attention_case {
  bool gated;
  index_t heads;
  bool masked;
  double dropout;
};
constexpr std::array<attention_case, 5> cases{
    {{false, 1, false, 0}, {true, 1, true, 0}, {true, 1, false, 0.25}, {true, 3, false, 0}, {false, 3, true, 0.25}}};

/// The parameters of a layer, or their gradients, or any tensors of those shapes, on one side.
template <class T, class Space>
struct parameters {
  stroma::array<T, 2, Space> v, u, c;
  stroma::array<T, 1, Space> a, b, d;
  [[nodiscard]] stroma::attention_view<const T, Space> views(bool gated) const {
    stroma::attention_view<const T, Space> p{stroma::as_const_view(v), stroma::as_const_view(a), {}, {},
                                             stroma::as_const_view(c), stroma::as_const_view(d)};
    if (gated) p.gate_weight = stroma::as_const_view(u), p.gate_bias = stroma::as_const_view(b);
    return p;
  }
  [[nodiscard]] stroma::attention_view<T, Space> targets(bool gated) {
    stroma::attention_view<T, Space> p{stroma::as_view(v), stroma::as_view(a), {}, {},
                                       stroma::as_view(c), stroma::as_view(d)};
    if (gated) p.gate_weight = stroma::as_view(u), p.gate_bias = stroma::as_view(b);
    return p;
  }
};
template <class T>
parameters<T, stroma::host_space> random_parameters(index_t heads, std::uint64_t seed) {
  return {normal_matrix<T>(width, features, seed, 0.3),
          normal_matrix<T>(width, features, seed + 1, 0.3),
          normal_matrix<T>(heads, width, seed + 2),
          normal_vector<T>(width, seed + 3),
          normal_vector<T>(width, seed + 4),
          normal_vector<T>(heads, seed + 5)};
}
template <class T>
parameters<T, stroma::device_space> to_device(stroma::cuda_context& ctx, const parameters<T, stroma::host_space>& p) {
  return {on_device(ctx, p.v), on_device(ctx, p.u), on_device(ctx, p.c),
          on_device(ctx, p.a), on_device(ctx, p.b), on_device(ctx, p.d)};
}

template <class T, class Space>
struct outputs {
  stroma::array<T, 2, Space> slide, attention, hidden, gate;
  outputs(index_t rows, index_t bags, index_t heads)
      : slide(bags, heads * features), attention(rows, heads), hidden(rows, width), gate(rows, width) {}
  [[nodiscard]] stroma::attention_output<T, Space> views(bool keep, bool gated) {
    stroma::attention_output<T, Space> out{stroma::as_view(slide), stroma::as_view(attention), {}, {}};
    if (keep) out.hidden = stroma::as_view(hidden);
    if (keep && gated) out.gate = stroma::as_view(gate);
    return out;
  }
};
template <class Space>
stroma::attention_options_in<Space> options_of(const attention_case& how,
                                               stroma::vector_view<const std::uint8_t, Space> mask) {
  return {.mask = mask,
          .check_values = true,
          .dropout = how.dropout,
          .hidden_key = {.seed = 3, .step = 4, .layer = 1},
          .gate_key = {.seed = 3, .step = 4, .layer = 2}};
}

template <class T>
void check_case(const attention_case& how, const std::vector<index_t>& sizes, layout lies) {
  const auto offsets = offsets_of_sizes(sizes);
  const index_t rows = offsets.back(), bags = static_cast<index_t>(sizes.size()), heads = how.heads;
  const auto x = normal_matrix<T>(rows, features, 1), d_slide = normal_matrix<T>(bags, heads * features, 2),
             d_attention = normal_matrix<T>(rows, heads, 3);
  const auto p = random_parameters<T>(heads, 10);
  const auto mask = how.masked ? partial_mask(offsets) : std::vector<std::uint8_t>{};
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  outputs<T, stroma::host_space> out(rows, bags, heads);
  outputs<T, stroma::device_space> found(rows, bags, heads);
  auto d_p = random_parameters<T>(heads, 20);
  auto d_p_found = to_device(ctx, d_p);
  auto d_x = normal_matrix<T>(rows, features, 4);
  const auto options = options_of<stroma::host_space>(how, {mask.data(), static_cast<index_t>(mask.size())});
  stroma::attention_pool(host, host_bags(x, offsets), p.views(how.gated), out.views(true, how.gated), options);

  const offsets_on_device o(ctx, offsets);
  const auto m = on_device(ctx, mask);
  const auto parameters_there = to_device(ctx, p);
  laid_out_on_device<T> in(ctx, stroma::as_const_view(x), lies);
  laid_out_on_device<T> to_x(ctx, stroma::as_const_view(d_x), layout::padded_rows);
  const auto there = options_of<stroma::device_space>(how, {m.data(), m.size()});
  const auto in_bags = o.of(device_matrix_view<const T>(in.view()));
  const index_t terms = features + width + *std::max_element(sizes.begin(), sizes.end());
  for (const bool keep : {false, true}) {  // with both the same values
    stroma::attention_pool(ctx, in_bags, parameters_there.views(how.gated), found.views(keep, how.gated), there);
    CHECK(device_error_of_sum(ctx, found.slide, out.slide, terms, 4) <= 1);
    CHECK(device_error_of_sum(ctx, found.attention, out.attention, terms, 1) <= 1);
  }
  CHECK(device_error_of_sum(ctx, found.hidden, out.hidden, features, 4) <= 1);
  if (how.gated) CHECK(device_error_of_sum(ctx, found.gate, out.gate, features, 4) <= 1);
  const auto kept = on_host(ctx, found.hidden);
  CHECK(std::equal(kept.begin(), kept.end(), out.hidden.begin(),
                   [](T a, T b) { return (a == T(0)) == (b == T(0)); }));  // the same units are dropped

  stroma::attention_pool_backward(
      host, host_bags(x, offsets), p.views(how.gated), out.views(true, how.gated),
      stroma::attention_derivative<T>{stroma::as_const_view(d_slide), stroma::as_const_view(d_attention)},
      stroma::attention_gradients<T>{stroma::as_view(d_x), d_p.targets(how.gated)}, options);
  const auto ds = on_device(ctx, d_slide), da = on_device(ctx, d_attention);
  stroma::attention_pool_backward(
      ctx, in_bags, parameters_there.views(how.gated), found.views(true, how.gated),
      stroma::attention_derivative<T, stroma::device_space>{stroma::as_const_view(ds), stroma::as_const_view(da)},
      stroma::attention_gradients<T, stroma::device_space>{to_x.view(), d_p_found.targets(how.gated)}, there);
  CHECK(error_of_sum(to_x.elements(ctx), d_x, terms, 4) <= 1);
  CHECK(device_error_of_sum(ctx, d_p_found.v, d_p.v, terms, 8) <= 1);
  CHECK(device_error_of_sum(ctx, d_p_found.a, d_p.a, terms, 8) <= 1);
  CHECK(device_error_of_sum(ctx, d_p_found.u, d_p.u, terms, 8) <= 1);
  CHECK(device_error_of_sum(ctx, d_p_found.b, d_p.b, terms, 8) <= 1);
  CHECK(device_error_of_sum(ctx, d_p_found.c, d_p.c, terms, 8) <= 1);
  CHECK(device_error_of_sum(ctx, d_p_found.d, d_p.d, terms, 8) <= 1);
  CHECK(to_x.gaps_untouched(ctx));
}

/// Slide, attention and, in training, all gradients of a recorded layer, with `to_host` copying what lies on a device.
template <class T, class Layer, class Graph, class Record>
std::vector<stroma::array<T, 2>> run_layer(Graph& g, const Layer& layer, Layer& gradient, Record input,
                                           const auto& to_host, const auto& derivative) {
  g.set_random(5, 6);
  g.bind(layer, gradient);
  const auto [slide, attention] = stroma::attention_pool(g, input(g), layer);
  std::vector<stroma::array<T, 2>> result{to_host(g.value(slide)), to_host(g.value(attention))};
  if (g.recording()) g.backward(slide, derivative(g.shape(slide).rows, g.shape(slide).cols));
  return result;
}

template <class T, template <class, class> class Layer>
void check_recorded_layer(const std::vector<index_t>& sizes, index_t heads, double dropout, stroma::graph_mode mode) {
  const auto offsets = offsets_of_sizes(sizes);
  const index_t rows = offsets.back();
  const auto x = normal_matrix<T>(rows, features, 1);
  Layer<T, stroma::backend::cpu> layer(features, width, heads, dropout), d_layer = layer;
  std::uint64_t seed = 10;
  stroma::for_each_parameter(
      [&](std::string_view, auto& p) {
        stroma::random_stream draw(++seed);
        for (T& v : p) v = static_cast<T>(0.3 * draw.normal());
      },
      layer);
  stroma::cpu_context host;
  stroma::cuda_context ctx;
  stroma::array<T, 2> d_x(rows, features), d_slide;
  stroma::graph<T> g(host, mode);
  const auto expected = run_layer<T>(
      g, layer, d_layer,
      [&](auto& at) {
        return with_bags(at, at.input(host_bags(x, offsets)),
                         at.variable(stroma::as_const_view(x), stroma::as_view(d_x)));
      },
      [&](auto v) {
        stroma::array<T, 2> copy(v.rows, v.cols);
        stroma::primitives<stroma::backend::cpu>::copy(host, v, stroma::as_view(copy));
        return copy;
      },
      [&](index_t r, index_t c) {
        d_slide = normal_matrix<T>(r, c, 9);
        return stroma::as_const_view(d_slide);
      });

  Layer<T, stroma::backend::cuda> there(features, width, heads, dropout), d_there = there;
  stroma::transfer_parameters(ctx, layer, there);
  const auto in = on_device(ctx, x);
  device_array<T> to_x(rows, features), derivative;
  const offsets_on_device o(ctx, offsets);
  device_graph<T> dg(ctx, mode);
  const auto found = run_layer<T>(
      dg, there, d_there,
      [&](auto& at) {
        return with_bags(at, at.input(o.of(stroma::as_const_view(in))),
                         at.variable(stroma::as_const_view(in), stroma::as_view(to_x)));
      },
      [&](auto v) {
        device_array<T> copy(v.rows, v.cols);
        stroma::primitives<stroma::backend::cuda>::copy(ctx, v, stroma::as_view(copy));
        return on_host(ctx, copy);
      },
      [&](index_t r, index_t c) {
        derivative = on_device(ctx, normal_matrix<T>(r, c, 9));
        return stroma::as_const_view(derivative);
      });
  const index_t terms = features + width + rows;
  for (std::size_t i = 0; i < 2; ++i) CHECK(error_of_sum(found[i], expected[i], terms, 4) <= 1);
  CHECK(device_error_of_sum(ctx, to_x, d_x, terms, 4) <= 1);
  auto d_back = layer;
  stroma::transfer_parameters(ctx, d_there, d_back);
  stroma::for_each_parameter(
      [&](std::string_view name, const auto& a, const auto& b) {
        CAPTURE(name);
        double worst = 0;
        for (index_t i = 0; i < a.size(); ++i)
          worst = std::max(worst, std::abs(static_cast<double>(a.data()[i]) - static_cast<double>(b.data()[i])));
        CHECK(worst <= 8 * static_cast<double>(terms) * static_cast<double>(std::numeric_limits<T>::epsilon()));
      },
      d_back, d_layer);
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: attention_pool: values, kept units and every gradient are the host's", T,
                   STROMA_DEVICE_SCALARS) {
  for (const auto& how : cases)
    for (const auto& sizes : bag_sizes)
      for (const layout lies : {layout::rows, layout::apart}) {
        if (lies == layout::apart && sizes.size() != 2) continue;
        CAPTURE(how.gated);
        CAPTURE(how.heads);
        CAPTURE(sizes[0]);
        check_case<T>(how, sizes, lies);
      }
}

TEST_CASE("cuda: attention_pool: 16-bit bags") {
  const auto check = [&]<class S, class T>(S, T) {
    const std::vector<index_t> offsets{0, 300, 301};
    const auto x = normal_matrix<S>(301, features, 1);
    const auto p = random_parameters<T>(2, 10);
    stroma::cpu_context host;
    stroma::cuda_context ctx;
    outputs<T, stroma::host_space> out(301, 2, 2);
    outputs<T, stroma::device_space> found(301, 2, 2);
    const auto there = to_device(ctx, p);
    const auto in = on_device(ctx, x);
    const offsets_on_device o(ctx, offsets);
    stroma::attention_pool(host, host_bags(x, offsets), p.views(true), out.views(true, true));
    stroma::attention_pool(ctx, o.of(stroma::as_const_view(in)), there.views(true), found.views(true, true));
    CHECK(device_error_of_sum(ctx, found.slide, out.slide, 340, 4) <= 1);
    CHECK(device_error_of_sum(ctx, found.attention, out.attention, 340, 1) <= 1);
    const auto d_slide = normal_matrix<T>(2, 2 * features, 2);
    const auto ds = on_device(ctx, d_slide);
    auto d_p = random_parameters<T>(2, 20);
    auto d_there = to_device(ctx, d_p);
    stroma::array<T, 2> d_x(301, features);
    device_array<T> to_x(301, features);
    stroma::attention_pool_backward(host, host_bags(x, offsets), p.views(true), out.views(true, true),
                                    stroma::attention_derivative<T>{stroma::as_const_view(d_slide), {}},
                                    stroma::attention_gradients<T>{stroma::as_view(d_x), d_p.targets(true)});
    stroma::attention_pool_backward(
        ctx, o.of(stroma::as_const_view(in)), there.views(true), found.views(true, true),
        stroma::attention_derivative<T, stroma::device_space>{stroma::as_const_view(ds), {}},
        stroma::attention_gradients<T, stroma::device_space>{stroma::as_view(to_x), d_there.targets(true)});
    CHECK(device_error_of_sum(ctx, to_x, d_x, 340, 4) <= 1);
    CHECK(device_error_of_sum(ctx, d_there.v, d_p.v, 340, 8) <= 1);
    CHECK(device_error_of_sum(ctx, d_there.u, d_p.u, 340, 8) <= 1);
    CHECK(device_error_of_sum(ctx, d_there.c, d_p.c, 340, 8) <= 1);
  };
  check(stroma::half{}, float{});
  check(stroma::bfloat16{}, float{});
  check(stroma::half{}, double{});
}

TEST_CASE_TEMPLATE("cuda: attention_pool: recorded, in training and inference", T, STROMA_DEVICE_SCALARS) {
  for (const auto mode : {stroma::graph_mode::training, stroma::graph_mode::inference})
    for (const double dropout : {0.0, 0.25})
      for (const auto& sizes : std::vector<std::vector<index_t>>{{1}, {33}, {257, 1, 511}}) {
        check_recorded_layer<T, stroma::gated_attention>(sizes, 1, dropout, mode);
        check_recorded_layer<T, stroma::plain_attention>(sizes, 2, dropout, mode);
      }
}

TEST_CASE("cuda: attention_pool: a bag alone has the bits of the bag in a batch") {
  // Whole numbers: products are exact, in whatever order a library sums them.
  const std::vector<index_t> sizes{257, 1, 511, 252, 1000, 3};
  const auto offsets = offsets_of_sizes(sizes);
  auto x = normal_matrix<float>(offsets.back(), features, 1);
  auto p = random_parameters<float>(2, 10);
  for (auto* m : {&x, &p.v, &p.u})
    for (float& v : *m) v = std::round(4 * v) / (m == &x ? 1.0f : 64.0f);
  stroma::cuda_context ctx;
  const auto in = on_device(ctx, x);
  const auto there = to_device(ctx, p);
  const offsets_on_device o(ctx, offsets);
  outputs<float, stroma::device_space> batch(offsets.back(), 6, 2);
  stroma::attention_pool(ctx, o.of(stroma::as_const_view(in)), there.views(true), batch.views(false, true));
  const auto slide = on_host(ctx, batch.slide), attention = on_host(ctx, batch.attention);
  for (std::size_t b = 0; b < sizes.size(); ++b) {
    const offsets_on_device own(ctx, {0, sizes[b]});
    outputs<float, stroma::device_space> alone(sizes[b], 1, 2);
    stroma::attention_pool(ctx, own.of(stroma::as_const_view(in).middle_rows(offsets[b], sizes[b])), there.views(true),
                           alone.views(false, true));
    CHECK(same_matrix(on_host(ctx, alone.slide), stroma::as_const_view(slide).middle_rows(static_cast<index_t>(b), 1)));
    CHECK(
        same_matrix(on_host(ctx, alone.attention), stroma::as_const_view(attention).middle_rows(offsets[b], sizes[b])));
  }
}

TEST_CASE("cuda: attention_pool: bad values are found and touch no memory out of bounds") {
  using T = double;
  const auto x = normal_matrix<T>(600, features, 1);
  const auto p = random_parameters<T>(2, 10);
  const auto call = [&](const stroma::array<T, 2>& values, const std::vector<index_t>& offsets,
                        const std::vector<std::uint8_t>& mask, double dropout, auto&& then) {
    stroma::cuda_context ctx;
    const auto in = on_device(ctx, values);
    const auto m = on_device(ctx, mask);
    const auto there = to_device(ctx, p);
    auto d_p = to_device(ctx, random_parameters<T>(2, 20));
    const offsets_on_device o(ctx, offsets);
    const index_t bags = static_cast<index_t>(offsets.size()) - 1;
    outputs<T, stroma::device_space> out(600, bags, 2);
    device_array<T> d_slide(bags, 2 * features), d_x(600, features);
    const auto options = options_of<stroma::device_space>({true, 2, false, dropout}, {m.data(), m.size()});
    const auto f = [&] {
      const auto of = o.of(stroma::as_const_view(in));
      stroma::attention_pool(ctx, of, there.views(true), out.views(true, true), options);
      stroma::attention_pool_backward(
          ctx, of, there.views(true), out.views(true, true),
          stroma::attention_derivative<T, stroma::device_space>{stroma::as_const_view(d_slide), {}},
          stroma::attention_gradients<T, stroma::device_space>{stroma::as_view(d_x), d_p.targets(true)}, options);
    };
    then(ctx, f, out);
  };
  const auto shape = [](stroma::cuda_context& ctx, auto&& f, auto&) {
    CHECK_THROWS_ON_DEVICE(ctx, f(), stroma::shape_error);
  };
  const auto value = [](stroma::cuda_context& ctx, auto&& f, auto&) {
    CHECK_THROWS_ON_DEVICE(ctx, f(), stroma::value_error);
  };
  for (const auto& offsets : bad_offsets) call(x, offsets, {}, 0, shape);
  for (const auto& offsets : bad_offsets) call(x, offsets, partial_mask({0, 600}), 0.25, shape);
  call(x, {0, 300, 300, 600}, {}, 0, shape);
  call(x, {0, 300, 600}, std::vector<std::uint8_t>(599, 1), 0, shape);
  std::vector<std::uint8_t> mask(600, 1);
  for (std::size_t n = 300; n < 600; ++n) mask[n] = 0;
  call(x, {0, 300, 600}, mask, 0, value);
  auto broken = x;
  broken(302, 5) = std::numeric_limits<T>::quiet_NaN();
  call(broken, {0, 300, 600}, {}, 0, value);
  // A masked instance may hold anything.
  std::fill(mask.begin(), mask.end(), std::uint8_t{1});
  mask[302] = 0;
  call(broken, {0, 300, 600}, mask, 0, [](stroma::cuda_context& ctx, auto&& f, auto& out) {
    f();
    for (const T v : on_host(ctx, out.slide)) CHECK(std::isfinite(v));
    CHECK(on_host(ctx, out.attention)(302, 1) == 0);
  });
}

TEST_CASE("cuda: attention_pool: few launches; the second call of a size allocates nothing") {
  stroma::cuda_context ctx;
  const auto x = on_device(ctx, normal_matrix<float>(769, features, 1));
  const auto there = to_device(ctx, random_parameters<float>(2, 10));
  const offsets_on_device o(ctx, {0, 257, 258, 769});
  outputs<float, stroma::device_space> out(769, 3, 2);
  const auto bags = o.of(stroma::as_const_view(x));
  check_second_call([&] { stroma::attention_pool(ctx, bags, there.views(true), out.views(false, true)); }, 12);
  stroma::gated_attention<float, stroma::backend::cuda> layer(features, width, 2), gradient = layer;
  device_array<float> d_slide(3, 2 * features);
  device_graph<float> g(ctx);
  g.bind(layer, gradient);
  const auto step = [&] {
    g.reset();
    const auto [slide, attention] = stroma::attention_pool(g, g.input(bags), layer);
    static_cast<void>(attention);
    g.backward(slide, stroma::as_const_view(d_slide));
  };
  check_second_call(step, 32);
  CHECK_NOTHROW(ctx.synchronize());
}
